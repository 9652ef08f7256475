"""The untouched model at some of its own noise levels: which these are, the images, and what cannot do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from tiny_models import PIXART_SCHEDULER, save_tiny_model, tiny_flux

import ecad
from ecad.errors import ModelError
from ecad.families import find_model, get_family
from ecad.sampling.any_pipeline import AnyPipelineSampler
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.noise_levels import set_levels
from ecad.sampling.samplers import make_sampler
from ecad.schedule import ScheduleShape, heuristic

PROMPTS = ["a large red circle", "a green cross"]
JOBS = [Job(0, 11), Job(1, 12)]


def pixart_sampler(pipe: Any, folder: Path, **changes: Any) -> Any:
    model = LoadedModel(find_model(str(folder)), get_family("pixart"), pipe, torch.device("cpu"))
    values = {"steps": 6, "guidance_scale": 4.0, "height": 16, "width": 16, "max_sequence_length": 12}
    return make_sampler(model, GenerationSettings(**{**values, **changes}))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["flux-dev", "flux-schnell"])
def flux_sampler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_tiny_model(request.param, tmp_path_factory.mktemp("flux") / request.param)
    pipe = tiny_flux(schnell="schnell" in request.param)
    model = LoadedModel(find_model(str(folder)), get_family("flux"), pipe, torch.device("cpu"))
    return make_sampler(model, GenerationSettings(4, 5.0, 32, 32, max_sequence_length=24))


def latents_of(sampler: Any) -> np.ndarray:
    """What would be decoded: images hide small differences."""
    sampler.decode = lambda latents: latents.numpy().copy()
    latents: np.ndarray = sampler.sample(sampler.encode(PROMPTS, batch_size=2), JOBS)
    return latents


@pytest.mark.parametrize("scheduler_class", [DPMSolverMultistepScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("levels", [(0,), (0, 1, 2, 6, 12), (0, 19), tuple(range(20))])
def test_timesteps_and_sigmas_are_those_of_the_chosen_steps(
    scheduler_class: Any, levels: tuple[int, ...]
) -> None:
    published = {name: PIXART_SCHEDULER[name] for name in ("beta_start", "beta_end", "beta_schedule")}
    scheduler = scheduler_class(**published)
    scheduler.set_timesteps(20)
    timesteps, sigmas = scheduler.timesteps.clone(), scheduler.sigmas.clone()
    found = set_levels(scheduler, 20, levels, "cpu")
    assert torch.equal(found, timesteps[list(levels)])
    assert torch.equal(found, scheduler.timesteps)
    # The denoising ends where it always does.
    assert torch.equal(scheduler.sigmas, sigmas[[*levels, -1]])
    assert torch.equal(set_levels(scheduler, 20, None, "cpu"), timesteps)


def test_all_levels_of_pixart_are_no_levels(tiny_pipe: Any, tiny_folder: Path) -> None:
    sampler = pixart_sampler(tiny_pipe, tiny_folder)
    expected = latents_of(sampler)
    assert np.array_equal(latents_of(sampler.with_steps(6, tuple(range(6)))), expected)
    some = latents_of(sampler.with_steps(6, (0, 1, 4)))
    assert not np.array_equal(some, expected)
    assert not np.allclose(some, latents_of(sampler.with_steps(3)))  # other levels than three even steps
    assert np.array_equal(latents_of(sampler), expected)  # nothing was left behind


def test_all_levels_of_flux_are_no_levels(flux_sampler: Any) -> None:
    expected = latents_of(flux_sampler)
    assert np.array_equal(latents_of(flux_sampler.with_steps(4, (0, 1, 2, 3))), expected)
    assert not np.allclose(latents_of(flux_sampler.with_steps(4, (0, 2, 3))), expected)


@pytest.mark.parametrize("levels", [(0,), (0, 3), (0, 2, 3)])
def test_one_level_less_is_one_whole_output_reused(flux_sampler: Any, levels: tuple[int, ...]) -> None:
    """With a first-order solver: two steps along one output are one long step, up to rounding."""
    config = flux_sampler.pipe.transformer.config
    shape = ScheduleShape(
        "flux",
        4,
        {
            "transformer_blocks": config.num_layers,
            "single_transformer_blocks": config.num_single_layers,
        },
    )
    with ecad.applied(flux_sampler.pipe, heuristic(f"output:{','.join(map(str, levels))}", shape)):
        reused = latents_of(flux_sampler)
    skipped = latents_of(flux_sampler.with_steps(4, levels))
    assert np.allclose(skipped, reused, rtol=1e-3, atol=1e-4)
    assert not np.allclose(skipped, latents_of(flux_sampler), rtol=1e-3, atol=1e-4)


def test_the_same_holds_for_pixart_with_an_euler_solver(tiny_pipe: Any, tiny_folder: Path) -> None:
    tiny_pipe.scheduler = EulerDiscreteScheduler()
    sampler = pixart_sampler(tiny_pipe, tiny_folder)
    schedule = heuristic("output:0,2,3", ScheduleShape("pixart", 6, {"transformer_blocks": 3}))
    with ecad.applied(tiny_pipe, schedule):
        reused = latents_of(sampler)
    skipped = latents_of(sampler.with_steps(6, (0, 2, 3)))
    assert np.allclose(skipped, reused, rtol=1e-3, atol=1e-4)
    assert not np.allclose(skipped, latents_of(sampler), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (DDIMScheduler(), "it takes no custom timesteps"),
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "Cannot use `timesteps`"),
        (EulerDiscreteScheduler(use_karras_sigmas=True), "Cannot set `timesteps`"),
    ],
)
def test_schedulers_that_cannot_are_named_in_one_line(
    tiny_pipe: Any, tiny_folder: Path, scheduler: Any, reason: str
) -> None:
    tiny_pipe.scheduler = scheduler
    sampler = pixart_sampler(tiny_pipe, tiny_folder)
    latents_of(sampler)  # without levels it runs
    with pytest.raises(ModelError, match=f"^{type(scheduler).__name__} cannot run at some") as caught:
        latents_of(sampler.with_steps(6, (0, 2, 3)))
    assert reason in str(caught.value)
    assert "leave out the rows steps:I,J" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scheduler_that_makes_other_levels_of_custom_ones_is_refused(flux_sampler: Any) -> None:
    """This one stretches the sigmas so that the last one is fixed, wherever it was."""
    scheduler = flux_sampler.pipe.scheduler
    flux_sampler.pipe.scheduler = type(scheduler).from_config(scheduler.config, shift_terminal=0.1)
    try:
        with pytest.raises(ModelError, match="it makes other noise levels of custom ones"):
            latents_of(flux_sampler.with_steps(4, (0, 1)))
    finally:
        flux_sampler.pipe.scheduler = scheduler


def test_a_pipeline_that_samples_by_its_own_call_is_refused(tiny_pipe: Any, tiny_folder: Path) -> None:
    ours = pixart_sampler(tiny_pipe, tiny_folder)
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler = AnyPipelineSampler(model, ours.settings)
    assert sampler.with_steps(3).settings.steps == 3
    with pytest.raises(ModelError, match="^a PixArtAlphaPipeline cannot run at some of its noise levels"):
        sampler.with_steps(6, (0, 2, 3))
