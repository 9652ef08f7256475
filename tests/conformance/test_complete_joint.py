"""Families with joint attention that are complete: what their formulas say is what runs, and from the command line a
tiny local pipeline of theirs is calibrated, searched, and what the search found applied.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipelines.joint import tiny_sd35_medium

import ecad
from ecad.families import PRESETS
from ecad.families.family import ComponentNumbers
from ecad.measuring.macs import component_macs, component_output_values, constant_macs, whole_output_values
from ecad.sampling.base import Job
from ecad.sampling.counting import counted_workload
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import heuristic, load_calibration, load_schedule

STEPS = 3


@dataclass(frozen=True)
class Case:
    """A family's tiny pipeline, the preset whose settings it must get, and the smallest size that it makes."""

    preset: str
    build: Callable[[], Any]
    pixels: int


CASES = (Case("sd3.5-medium", tiny_sd35_medium, 16),)


@pytest.fixture(params=CASES, ids=[case.preset for case in CASES], scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"tiny-{case.preset}"
    case.build().save_pretrained(path)
    return path


@cache
def subject_of(folder: Path, pixels: int) -> Subject:
    choice = ModelChoice(str(folder), "cpu", embedding_cache=False)
    return prepare_subject(choice, Overrides(steps=STEPS, height=pixels, width=2 * pixels))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_a_copy_gets_the_presets_settings(case: Case, folder: Path) -> None:
    subject, preset = subject_of(folder, case.pixels), PRESETS[case.preset]
    settings = subject.settings
    assert subject.source.template is preset
    assert settings.guidance_scale == preset.guidance_scale
    assert settings.true_cfg_scale == preset.true_cfg_scale
    assert settings.max_sequence_length == preset.max_sequence_length


def test_torch_counts_what_the_formulas_say(case: Case, folder: Path) -> None:
    """Of a picture twice as wide as high, through the pipeline's own call: sizes, text tokens and rows, too."""
    subject = subject_of(folder, case.pixels)
    sampler, family = subject.sampler, subject.model.family
    assert family.formulas is not None
    conditioning = sampler.encode([PROMPT], 1)
    counted = counted_workload(subject.model.pipe, family, lambda: sampler.sample(conditioning, [Job(0, 0)]))
    workload = subject.workload
    blocks = subject.source.block_counts()

    def per_block(numbers: ComponentNumbers) -> dict[tuple[str, str], list[int]]:
        return {
            (name, component): family.block_list(name).by_block(component, value, blocks[name])
            for (name, component), value in numbers.items()
        }

    assert per_block(counted.component_macs) == per_block(component_macs(workload))
    assert per_block(counted.output_values) == per_block(component_output_values(workload))
    assert counted.constant_macs == constant_macs(workload)
    assert counted.whole_output_values == whole_output_values(workload)


def test_it_is_calibrated_searched_and_applied(
    case: Case,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "search.txt").write_text(f"{PROMPT}\n")
    (tmp_path / "heldout.txt").write_text("a harbour at night\n")
    size: tuple[object, ...] = ("--model", folder, "--steps", STEPS, "--device", "cpu", "--batch-size", 2)
    size += ("--height", case.pixels, "--width", case.pixels)
    calibration, run, fast = tmp_path / "calibration.json", tmp_path / "run", tmp_path / "fast.yaml"
    command(monkeypatch, "calibrate", *size, "--prompts", tmp_path / "search.txt", "--out", calibration)
    assert load_calibration(calibration).shape == subject_of(folder, case.pixels).shape
    command(
        monkeypatch,
        *("search", *size, "--generations", 2, "--population", 4, "--quality", "psnr", "--workers", "none"),
        *("--prompts", tmp_path / "search.txt", "--heldout-prompts", tmp_path / "heldout.txt"),
        *("--calibration", calibration, "--out", run),
    )
    assert "held-out" in capsys.readouterr().out
    command(monkeypatch, "export", run, "--speedup", 1.2, "-o", fast)
    schedule = load_schedule(fast)
    assert schedule.shape == subject_of(folder, case.pixels).shape

    pipe = case.build()
    arguments = ({"true_cfg_scale": 3.0, "negative_prompt": " "} if "qwen" in case.preset else {}) | {
        "num_inference_steps": STEPS,
        "height": case.pixels,
        "width": case.pixels,
        "output_type": "np",
    }

    def image() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe(prompt=PROMPT, generator=generator, **arguments).images)

    before = image()
    with ecad.applied(pipe, heuristic("all", schedule.shape)):
        assert np.array_equal(image(), before)
    with ecad.applied(pipe, fast) as handle:
        assert not np.array_equal(image(), before)
        assert handle.reused > 0
    assert np.array_equal(image(), before)


PROMPT = "a red bicycle"
