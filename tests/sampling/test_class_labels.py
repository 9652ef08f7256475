"""DiT: prompts are classes, its call takes no size, and older files call its transformer something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipelines.dit import tiny_dit

from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.sampling.base import Job
from ecad.sampling.class_labels import labels_of
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import prepare_subject


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_dit()


@pytest.fixture(scope="module")
def folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-dit"
    pipe.save_pretrained(path)
    return path


def test_names_and_numbers(pipe: Any) -> None:
    assert labels_of("tiny", pipe, ["Tinca tinca", " goldfish ", "2", "999"]) == [0, 1, 2, 999]


@pytest.mark.parametrize("prompt", ["1000", "-1", "a red bicycle", ""])
def test_what_is_no_class(pipe: Any, prompt: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"'{prompt}' is no class of tiny: a prompt is a number from 0 to 999"
    ):
        labels_of("tiny", pipe, [prompt])


def test_the_likely_name_is_told(pipe: Any) -> None:
    with pytest.raises(ConfigError, match="or a name such as '.*'; did you mean 'white shark'"):
        labels_of("tiny", pipe, ["a white shark"])


def test_the_images_are_the_pipelines_own(folder: Path) -> None:
    subject = prepare_subject(ModelChoice(str(folder), "cpu"), Overrides(steps=2, height=32, width=32))
    prompts = subject.sampler.encode(["goldfish", "2"], 2)
    images = subject.sampler.sample(prompts, [Job(0, 5), Job(1, 6)])
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    call = {"generator": generators, "num_inference_steps": 2, "output_type": "np"}
    own = subject.model.pipe(class_labels=[1, 2], **call).images
    assert np.array_equal(images, (own * 255).round().astype(np.uint8))
    with pytest.raises(ConfigError, match="'two cats' is no class of tiny-dit"):
        subject.sampler.encode(["two cats"], 1)


def test_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="DiTPipeline makes no other images than 32 x 32 pixels"):
        prepare_subject(ModelChoice(str(folder), "cpu"), Overrides(steps=2, height=64, width=32))
    assert prepare_subject(ModelChoice(str(folder), "cpu"), Overrides(steps=2)).settings.height == 32


def test_the_class_names_of_the_published_files(folder: Path, tmp_path: Path) -> None:
    """facebook/DiT-XL-2-256 was saved before DiT's transformer had a class of its own."""
    old = tmp_path / "old"
    pipe = tiny_dit()
    pipe.save_pretrained(old)
    for name in ("model_index.json", "transformer/config.json"):
        path = old / name
        text = path.read_text().replace('"DiTTransformer2DModel"', '"Transformer2DModel"')
        path.write_text(text)
    assert (
        json.loads((old / "transformer" / "config.json").read_text())["_class_name"] == "Transformer2DModel"
    )
    source = find_model(str(old))
    assert source.family is not None
    assert source.family.name == "dit"
    subject = prepare_subject(ModelChoice(str(old), "cpu"), Overrides(steps=2))
    assert type(subject.model.pipe.transformer).__name__ == "DiTTransformer2DModel"
