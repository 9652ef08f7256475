"""Complete families from the command line: calibrated, searched, reported, and applied to the pipeline's own call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.toys import Contrast, metric
from tiny_pipelines.dit import tiny_dit
from tiny_pipelines.hunyuan_dit import tiny_hunyuan_dit
from tiny_pipelines.lumina2 import tiny_lumina2
from tiny_pipelines.sana import tiny_sana
from tiny_pipelines.zimage import tiny_zimage

import ecad
from ecad.families import find_model
from ecad.sampling.any_pipeline import call_parameters
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import heuristic, load_schedule

STEPS = 4


@dataclass(frozen=True)
class Complete:
    """A family with a tiny pipeline, and what must come out of it.

    `template` is the preset whose settings a local copy takes. `tokens` are the image tokens of an image of `size`
    pixels each way, `text` the text tokens that costs are told for.
    """

    family: str
    build: Callable[[], Any]
    template: str
    size: int
    tokens: int
    text: int
    rows: int = 2
    prompts: tuple[str, ...] = ("a red bicycle", "two cats")
    heldout: str = "a harbour at night"
    has_size: bool = True  # its call takes height and width

    def call(self, pipe: Any) -> np.ndarray:
        """An image, as a user of the pipeline makes it."""
        settings: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "np"}
        if self.has_size:
            settings |= {"height": self.size, "width": self.size}
        settings |= self.arguments(pipe)
        return np.asarray(pipe(generator=torch.Generator().manual_seed(0), **settings).images)

    def arguments(self, pipe: Any) -> Mapping[str, Any]:
        if "prompt" not in call_parameters(pipe):
            return {"class_labels": pipe.get_label_ids([self.prompts[0]])}
        call = {"prompt": self.prompts[0], "use_resolution_binning": False}
        return {name: value for name, value in call.items() if name in call_parameters(pipe)}


COMPLETE = (
    Complete("sana", tiny_sana, "sana-1600m", size=64, tokens=4, text=300),
    Complete("zimage", tiny_zimage, "z-image-turbo", size=32, tokens=4, text=64, rows=1),
    Complete("lumina2", tiny_lumina2, "lumina-image-2.0", size=32, tokens=4, text=256),
    Complete("hunyuan-dit", tiny_hunyuan_dit, "hunyuan-dit-v1.2", size=32, tokens=4, text=333),
    Complete(
        "dit",
        tiny_dit,
        "dit-xl",
        size=32,
        tokens=4,
        text=1,
        prompts=("goldfish", "Tinca tinca"),
        heldout="2",
        has_size=False,
    ),
)


@pytest.fixture(scope="module", params=COMPLETE, ids=[each.family for each in COMPLETE])
def complete(request: pytest.FixtureRequest) -> Complete:
    found: Complete = request.param
    return found


@pytest.fixture(scope="module")
def folder(complete: Complete, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"tiny-{complete.family}"
    complete.build().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def subject(complete: Complete, folder: Path) -> Subject:
    size = complete.size
    choice = ModelChoice(str(folder), "cpu", embedding_cache=False)
    return prepare_subject(choice, Overrides(steps=STEPS, height=size, width=size))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_from_calibration_to_apply(
    complete: Complete, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search.txt").write_text("\n".join(complete.prompts) + "\n")
    (tmp_path / "heldout.txt").write_text(complete.heldout + "\n")
    size = ("--height", complete.size, "--width", complete.size)
    settings = ("--model", folder, "--steps", STEPS, *size, "--batch-size", 2, "--device", "cpu")
    prompts = ("--prompts", tmp_path / "search.txt")
    calibration = tmp_path / "calibration.json"
    command(monkeypatch, "calibrate", *settings, *prompts, "--out", calibration)
    assert json.loads(calibration.read_text())["family"] == complete.family
    run = tmp_path / "run"
    with metric(Contrast()):  # of random models, fidelity leaves nothing in the front
        command(
            monkeypatch,
            *("search", *settings, *prompts, "--heldout-prompts", tmp_path / "heldout.txt", "--out", run),
            *("--generations", 2, "--population", 4, "--quality", "contrast", "--workers", "none"),
            *("--calibration", calibration),
        )
    report = json.loads((run / "report.json").read_text())
    assert len(report["rows"]) > 4
    command(monkeypatch, "export", run, "--speedup", 1.05, "-o", tmp_path / "fast.yaml")
    schedule = load_schedule(tmp_path / "fast.yaml")
    assert (schedule.family, schedule.steps) == (complete.family, STEPS)

    pipe = complete.build()
    before = complete.call(pipe)
    with ecad.applied(pipe, heuristic("all", schedule.shape)):
        assert np.array_equal(complete.call(pipe), before)
    with ecad.applied(pipe, tmp_path / "fast.yaml") as handle:
        assert not np.array_equal(complete.call(pipe), before)
        assert handle.reused > 0
    assert np.array_equal(complete.call(pipe), before)


def test_settings_and_work_are_those_of_the_pipeline(
    complete: Complete, folder: Path, subject: Subject
) -> None:
    source = find_model(str(folder))
    assert source.template is not None
    assert source.template.name == complete.template
    assert subject.settings.max_sequence_length == source.template.max_sequence_length
    assert subject.settings.guidance_scale == source.template.guidance_scale
    workload: Any = subject.workload
    assert (workload.image_tokens, workload.rows) == (complete.tokens, complete.rows)
    assert workload.text_tokens == complete.text
    assert subject.sampler.has_guidance_rows == (complete.rows == 2)
