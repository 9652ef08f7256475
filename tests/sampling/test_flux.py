"""Our own denoising loop of FLUX gives the pipeline's images, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_model, tiny_flux

from ecad.errors import ConfigError
from ecad.families import find_model, get_family
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.samplers import make_sampler

PROMPTS = ["a red bicycle", "two cats on a mat, oil painting", "a harbour at night"]
JOBS = [Job(0, 21), Job(1, 22), Job(2, 23), Job(0, 24)]


@pytest.fixture(scope="module", params=["dev", "schnell"])
def flux(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = save_tiny_model(f"flux-{request.param}", tmp_path_factory.mktemp("flux") / request.param)
    return tiny_flux(schnell=request.param == "schnell"), folder


def settings(**changes: Any) -> GenerationSettings:
    values = {"steps": 4, "guidance_scale": 5.0, "height": 32, "width": 32, "max_sequence_length": 24}
    return GenerationSettings(**{**values, **changes})


def sampler_of(flux: tuple[Any, Path], **changes: Any) -> Any:
    pipe, folder = flux
    model = LoadedModel(find_model(str(folder)), get_family("flux"), pipe, torch.device("cpu"))
    return make_sampler(model, settings(**changes))


def pipeline_images(pipe: Any, prompts: list[str], seeds: list[int], **changes: Any) -> np.ndarray:
    wanted = settings(**changes)
    guided = {"negative_prompt": [""] * len(prompts)} if wanted.true_cfg_scale > 1 else {}
    images = pipe(
        prompts,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.guidance_scale,
        true_cfg_scale=wanted.true_cfg_scale,
        height=wanted.height,
        width=wanted.width,
        max_sequence_length=wanted.max_sequence_length,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        **guided,
    ).images
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"guidance_scale": 0.0},
        {"true_cfg_scale": 2.5},
        {"height": 48, "width": 16},
        {"max_sequence_length": 40, "steps": 7},
        {"steps": 1},
    ],
)
def test_bit_identical_to_the_pipeline(flux: tuple[Any, Path], changes: dict[str, Any]) -> None:
    sampler = sampler_of(flux, **changes)
    images = sampler.sample(sampler.encode(PROMPTS, batch_size=3), JOBS[:3])
    assert images.dtype == np.uint8
    expected = pipeline_images(flux[0], PROMPTS, [21, 22, 23], **changes)
    assert np.array_equal(images, expected)
    assert images.std() > 5  # not one grey


def test_the_scheduler_stands_where_the_pipeline_leaves_it(flux: tuple[Any, Path]) -> None:
    """Timesteps, shifted by the number of image tokens for dev, and the index that schedules are read by."""
    sampler = sampler_of(flux, height=64, width=48)
    sampler.sample(sampler.encode(PROMPTS, 3), JOBS[:1])
    scheduler = flux[0].scheduler
    ours = (
        scheduler.timesteps.clone(),
        scheduler.sigmas.clone(),
        scheduler.step_index,
        scheduler.begin_index,
    )
    pipeline_images(flux[0], PROMPTS[:1], [21], height=64, width=48)
    assert torch.equal(ours[0], scheduler.timesteps)
    assert torch.equal(ours[1], scheduler.sigmas)
    assert ours[2:] == (scheduler.step_index, scheduler.begin_index) == (4, 0)


def test_guidance_is_an_input_of_dev_and_nothing_to_schnell(flux: tuple[Any, Path]) -> None:
    def images(**changes: Any) -> np.ndarray:
        sampler = sampler_of(flux, **changes)
        return sampler.sample(sampler.encode(PROMPTS, 3), JOBS[:3])

    has_embedding = flux[0].transformer.config.guidance_embeds
    assert np.array_equal(images(guidance_scale=1.0), images(guidance_scale=9.0)) != has_embedding
    assert not np.array_equal(images(true_cfg_scale=2.5), images())


def test_true_guidance_runs_each_pass_in_its_context(
    flux: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    entered: list[str] = []

    @contextmanager
    def recorded(self: Any, name: str) -> Any:
        entered.append(name)
        yield

    monkeypatch.setattr(type(flux[0].transformer), "cache_context", recorded)
    sampler = sampler_of(flux, true_cfg_scale=2.0, steps=2)
    assert sampler.has_guidance_rows
    sampler.sample(sampler.encode(PROMPTS, 3), JOBS[:1])
    assert entered == ["cond", "uncond", "cond", "uncond"]
    plain = sampler_of(flux, steps=2)
    assert not plain.has_guidance_rows
    plain.sample(plain.encode(PROMPTS, 3), JOBS[:1])
    assert entered[4:] == ["cond", "cond"]


def test_a_prompt_with_several_seeds_and_fewer_steps(flux: tuple[Any, Path]) -> None:
    sampler = sampler_of(flux)
    conditioning = sampler.encode(PROMPTS, batch_size=3)
    images = sampler.sample(conditioning, [JOBS[3], JOBS[2]])
    assert np.array_equal(images, pipeline_images(flux[0], [PROMPTS[0], PROMPTS[2]], [24, 23]))
    fewer = sampler.with_steps(2).sample(conditioning, JOBS[:3])
    assert np.array_equal(fewer, pipeline_images(flux[0], PROMPTS, [21, 22, 23], steps=2))


def test_sizes_that_do_not_pack(flux: tuple[Any, Path]) -> None:
    with pytest.raises(ConfigError, match=r"height must be a multiple of 16 pixels for \w+, not 24"):
        sampler_of(flux, height=24)


def test_true_guidance_is_a_setting_of_flux(tiny_pipe: Any, tiny_folder: Path) -> None:
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    with pytest.raises(
        ConfigError, match=r"true_cfg_scale is a setting of FLUX and its like: tiny-pixart .*guidance_scale"
    ):
        make_sampler(model, settings(true_cfg_scale=2.0))
