"""Searches with `--summed-runs`: each candidate as `ecad.apply(..., summed_runs=True)` has it, and little memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from contracts.toys import Contrast

import ecad
from ecad.arrays import Images
from ecad.prompts import PromptSet
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import heuristic, load_schedule
from ecad.searching.evaluator import ModelEvaluator

BLOCKS, STEPS = 4, 6


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-wan-2.2"
    import_module("tiny_pipelines.wan").build(two_transformers=True, layers=BLOCKS).save_pretrained(folder)
    return folder


class Seeing(Contrast):
    def __init__(self) -> None:
        self.seen: list[Images] = []

    def __call__(self, prompts: Any, images: Any, references: Any = None) -> Any:
        self.seen.append(images)
        return super().__call__(prompts, images) if images.ndim == 4 else np.zeros(len(images))


def most_stored(subject: Subject, run: Callable[[], Any]) -> int:
    """The most tensors that are held at a time."""
    held = [0]
    pipe = subject.model.pipe

    def note(*_: Any) -> None:
        handle = pipe.transformer.__dict__["_ecad_applied"]
        held.append(handle.stored_outputs)

    hook = pipe.transformer.register_forward_hook(note)
    try:
        run()
    finally:
        hook.remove()
    return max(held)


@pytest.mark.parametrize("name", ["pixart", "wan"])
def test_an_evaluation_is_of_what_apply_makes(name: str, wan: Path) -> None:
    """Two candidates that have their first steps in common, and each of them alone."""
    if name == "wan":
        sizes = import_module("tiny_pipelines.wan").SIZE
        choice, overrides, passes = ModelChoice(str(wan), "cpu"), Overrides(steps=STEPS, **sizes), 2
    else:
        choice, overrides, passes = ModelChoice("pixart-mini", "cpu"), Overrides(steps=STEPS), 1
    subject = prepare_subject(choice, overrides)
    scorer, prompts = Seeing(), PromptSet("one", ("a red circle",), "0")

    def evaluator(summed_runs: bool) -> ModelEvaluator:
        return ModelEvaluator(
            subject.sampler,
            scorer,
            prompts,
            subject.workload,
            seeds_per_prompt=1,
            first_seed=3,
            batch_size=1,
            summed_runs=summed_runs,
        )

    schedules = [heuristic(each, subject.shape) for each in ("fora:2", "mask:0")]
    blocks = next(iter(subject.shape.blocks.values()))
    summing, other = evaluator(True), evaluator(False)
    assert most_stored(subject, lambda: summing.score_batch(schedules, 0)) == 3 * passes
    assert most_stored(subject, lambda: other.score_batch(schedules[:1], 0)) == 3 * passes * blocks
    found, scorer.seen = scorer.seen[:2], []
    conditioning = subject.sampler.encode(prompts.prompts, 1)
    for schedule, images in zip(schedules, found, strict=True):
        with ecad.applied(subject.model.pipe, schedule, summed_runs=True):
            assert np.array_equal(subject.sampler.sample(conditioning, jobs_for(1, 1, 3)), images)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object, exit_code: int = 0) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == exit_code


@pytest.fixture
def search(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    (tmp_path / "search.txt").write_text("a red bicycle\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")

    def run(name: str, *options: object, generations: int = 2, exit_code: int = 0) -> Path:
        folder = tmp_path / name
        command(
            monkeypatch,
            *("search", "--model", wan, "--steps", STEPS, "--height", 16, "--width", 32, "--num-frames", 5),
            *(
                "--device",
                "cpu",
                "--prompts",
                tmp_path / "search.txt",
                "--quality",
                "psnr",
                "--population",
                4,
            ),
            *("--heldout-prompts", tmp_path / "heldout.txt", "--batch-size", 1, "--threads", 1),
            *("--generations", generations, "--out", folder, *options),
            exit_code=exit_code,
        )
        return folder

    return run


# What one output of a block takes for both passes: two latent frames of 1 x 2 tokens, 24 numbers in 32 bits.
OUTPUT = 2 * (2 * 1 * 2) * 24 * 4


def test_where_memory_is_short_summed_runs_make_it_fit(
    search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = 5 * OUTPUT  # three sums, and not the eight outputs that attn:2 keeps
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free))
    search("refused", "--workers", "none", exit_code=2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "are free: give --summed-runs, which takes" in error
    search("latency", "--workers", "none", "--summed-runs", "--cost", "latency", exit_code=2)
    assert "--cost latency measures schedules that keep up to" in capsys.readouterr().err
    folder = search("fits", "--workers", "none", "--summed-runs")
    printed = capsys.readouterr()
    assert "(schedules that need more are not tried)" in printed.err
    assert yaml.safe_load((folder / "config.yaml").read_text())["settings"]["summed_runs"] is True
    names = [row["name"] for row in json.loads((folder / "report.json").read_text())["rows"]]
    assert "fora:2" in names
    assert "attn:2" not in names  # of its blocks two outputs are reused while the third is new
    [path, *_] = sorted((folder / "front").glob("*.yaml"))
    assert load_schedule(path).provenance["search"]["summed_runs"] is True
    # Stopped and resumed it is the same.
    stopped = search("stopped", "--workers", "none", "--summed-runs", generations=1)
    command(monkeypatch, "search", "--resume", stopped, "--generations", 2, "--workers", "none")
    assert (stopped / "evaluations.jsonl").read_bytes() == (folder / "evaluations.jsonl").read_bytes()


@pytest.mark.ray
@pytest.mark.slow
def test_workers_find_the_same(search: Callable[..., Path]) -> None:
    here, there = (
        search("here", "--workers", "none", "--summed-runs"),
        search("there", "--workers", 2, "--summed-runs"),
    )
    assert (here / "evaluations.jsonl").read_bytes() == (there / "evaluations.jsonl").read_bytes()


def test_a_family_without_sums_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--generations", 1, "--summed-runs", "--device", "cpu", "--out", tmp_path / "run")
    command(monkeypatch, "search", "--model", "flux-mini", *options, exit_code=2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: --summed-runs: nothing can be summed up in the blocks of family 'flux'")
