"""Families with joint attention that are complete: what their formulas say is what runs, and from the command line a
tiny local pipeline of theirs is calibrated, searched, and what the search found applied.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from contracts.toys import Contrast, metric
from tiny_pipelines.joint import tiny_auraflow, tiny_chroma, tiny_flux2, tiny_qwen_image, tiny_sd35_medium

import ecad
from ecad.families import PRESETS, get_family
from ecad.families.family import ComponentNumbers, Workload
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


CASES = (
    Case("sd3.5-medium", tiny_sd35_medium, 16),
    Case("qwen-image", tiny_qwen_image, 16),
    Case("chroma-hd", tiny_chroma, 16),
    Case("flux2-dev", tiny_flux2, 16),
    Case("auraflow", tiny_auraflow, 16),
)


@pytest.fixture(params=CASES, ids=[case.preset for case in CASES], scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def folder(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"tiny-{case.preset}"
    case.build().save_pretrained(path)
    return path


@cache
def subject_of(folder: Path, pixels: int) -> Subject:
    choice = ModelChoice(str(folder), "cpu", embedding_cache=False)
    return prepare_subject(choice, Overrides(steps=STEPS, height=pixels, width=2 * pixels))


class Indifferent(Contrast):
    """Any picture is as good, as random weights have no better ones: the cheapest schedule alone is the front."""

    name = "indifferent"

    def __call__(
        self, prompts: Sequence[str], images: np.ndarray, references: np.ndarray | None = None
    ) -> np.ndarray:
        assert images.dtype == np.uint8
        assert images.std() > 0
        return np.full(len(images), 0.5)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    from ecad.cli.main import main

    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


# Billions of parameters as published, with position embeddings that are not learnt.
PUBLISHED_SIZES = {
    "sd3-medium": 2,
    "sd3.5-medium": 2.5,
    "sd3.5-large": 8.1,
    "qwen-image": 20,
    "chroma-hd": 8.9,
    "flux2-dev": 32,
    "auraflow": 6.8,
}


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_a_preset_is_of_the_published_size(name: str) -> None:
    import diffusers

    preset = PRESETS[name]
    transformer_class = getattr(diffusers, get_family(preset.family).transformer_classes[0])
    with torch.device("meta"):
        transformer = transformer_class(**preset.transformer)
    numbers = sum(tensor.numel() for tensor in transformer.parameters())
    if preset.family == "sd3":
        numbers += transformer.pos_embed.pos_embed.numel()
    assert numbers / 1e9 == pytest.approx(PUBLISHED_SIZES[name], rel=0.05)


def test_a_copy_gets_the_presets_settings(case: Case, folder: Path) -> None:
    subject, preset = subject_of(folder, case.pixels), PRESETS[case.preset]
    settings = subject.settings
    assert subject.source.template is preset
    assert settings.guidance_scale == preset.guidance_scale
    assert settings.true_cfg_scale == preset.true_cfg_scale
    assert settings.max_sequence_length == preset.max_sequence_length


def test_guidance_reaches_the_call_by_its_own_name(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = subject_of(folder, case.pixels).sampler
    preset = PRESETS[case.preset]
    found: dict[str, Any] = {}

    def call(self: Any, **arguments: Any) -> Any:
        found.update(arguments)
        return SimpleNamespace(images=np.zeros((2, 4, 4, 3)))

    pipeline_class = type(sampler.pipe)
    monkeypatch.setattr(pipeline_class, "__call__", wraps(pipeline_class.__call__)(call))
    sampler.sample(sampler.encode([PROMPT, "two cats"], 2), [Job(0, 0), Job(1, 1)])
    assert found["prompt"] == [PROMPT, "two cats"]
    assert found["max_sequence_length"] == preset.max_sequence_length
    guidance = {key: found.get(key) for key in ("guidance_scale", "true_cfg_scale", "negative_prompt")}
    if case.preset == "qwen-image":
        assert guidance == {"guidance_scale": None, "true_cfg_scale": 4.0, "negative_prompt": ["", ""]}
    else:
        expected = {"guidance_scale": preset.guidance_scale, "true_cfg_scale": None, "negative_prompt": None}
        assert guidance == expected


def test_images_of_a_batch_are_those_made_alone(case: Case, folder: Path) -> None:
    """Each has its own prompt, its own seed and its own empty prompt to be guided away from."""
    sampler = subject_of(folder, case.pixels).sampler
    conditioning = sampler.encode([PROMPT, "two cats"], 2)
    together = sampler.sample(conditioning, [Job(0, 0), Job(1, 1)]).astype(int)
    assert np.abs(together[0] - together[1]).mean() > 2
    for number, image in enumerate(together):
        [alone] = sampler.sample(conditioning, [Job(number, number)]).astype(int)
        assert np.abs(alone - image).max() <= 1  # of 255: sums in another order


def test_torch_counts_what_the_formulas_say(case: Case, folder: Path) -> None:
    """Of a picture twice as wide as high, through the pipeline's own call: sizes, text tokens and rows, too."""
    subject = subject_of(folder, case.pixels)
    sampler, family = subject.sampler, subject.model.family
    assert family.formulas is not None
    workload = subject.workload
    assert isinstance(workload, Workload)
    assert sampler.has_guidance_rows == (workload.rows == 2)
    # Where nothing is padded, the empty prompt is as long as the one that guides.
    conditioning = sampler.encode([PROMPT if family.sizes.pads_text else ""], 1)
    texts: list[int] = []

    def note(_module: Any, _args: Any, arguments: dict[str, Any]) -> None:
        texts.append(arguments["encoder_hidden_states"].shape[1])

    handle = subject.model.pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    counted = counted_workload(subject.model.pipe, family, lambda: sampler.sample(conditioning, [Job(0, 0)]))
    handle.remove()
    if not family.sizes.pads_text:
        assert workload.text_tokens == family.sizes.text_tokens
        workload = replace(workload, text_tokens=texts[0])
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
    with metric(Indifferent()):
        command(
            monkeypatch,
            *("search", *size, "--generations", 2, "--population", 4, "--quality", "indifferent"),
            *("--prompts", tmp_path / "search.txt", "--heldout-prompts", tmp_path / "heldout.txt"),
            *("--calibration", calibration, "--workers", "none", "--out", run),
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
