"""The untouched model at some of its own noise levels: which these are, the images, and what cannot do it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from tiny_models import PIXART_SCHEDULER, save_tiny_model, tiny_flux
from tiny_pipelines.joint import tiny_chroma, tiny_qwen_image
from tiny_pipelines.lumina2 import tiny_lumina2
from tiny_pipelines.wan import build as build_wan

import ecad
from ecad.errors import ModelError
from ecad.families import find_model, get_family
from ecad.sampling.any_pipeline import AnyPipelineSampler
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.noise_levels import kept_levels, set_levels
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


def refused_in_one_line(scheduler: Any, reason: str, run: Callable[[], object]) -> None:
    with pytest.raises(ModelError, match=f"^{type(scheduler).__name__} cannot run at some") as caught:
        run()
    assert reason in str(caught.value)
    assert "leave out the rows steps:I,J" in str(caught.value)
    assert "\n" not in str(caught.value)


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
    refused_in_one_line(scheduler, reason, lambda: latents_of(sampler.with_steps(6, (0, 2, 3))))


def test_a_scheduler_that_makes_other_levels_of_custom_ones_is_refused(flux_sampler: Any) -> None:
    """This one stretches the sigmas so that the last one is fixed, wherever it was."""
    scheduler = flux_sampler.pipe.scheduler
    flux_sampler.pipe.scheduler = type(scheduler).from_config(scheduler.config, shift_terminal=0.1)
    try:
        with pytest.raises(ModelError, match="it makes other noise levels of custom ones"):
            latents_of(flux_sampler.with_steps(4, (0, 1)))
    finally:
        flux_sampler.pipe.scheduler = scheduler


def own_call(pipe: Any, family: str, model: Any, **changes: Any) -> AnyPipelineSampler:
    """A sampler by the pipeline's own call; `changes` are settings."""
    loaded = LoadedModel(find_model(str(model)), get_family(family), pipe, torch.device("cpu"))
    values = {"steps": 6, "guidance_scale": 4.0, "height": 16, "width": 16, "max_sequence_length": 12}
    return AnyPipelineSampler(loaded, GenerationSettings(**{**values, **changes}))  # type: ignore[arg-type]


def images_of(sampler: Any) -> np.ndarray:
    images: np.ndarray = sampler.sample(sampler.encode(PROMPTS, 2), JOBS)
    return images


def is_untouched(scheduler: Any) -> bool:
    return not {"set_timesteps", "step"} & vars(scheduler).keys()


# Of 6 steps, as these pipelines give them to their scheduler.
SIGMAS = np.linspace(1.0, 1 / 6, 6)


@pytest.mark.parametrize("scheduler_class", [DPMSolverMultistepScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("levels", [(0, 3), (0, 1, 4), tuple(range(6))])
def test_the_own_call_of_pixart_is_our_sampler(
    tiny_pipe: Any, tiny_folder: Path, scheduler_class: Any, levels: tuple[int, ...]
) -> None:
    tiny_pipe.scheduler = scheduler_class()
    ours = pixart_sampler(tiny_pipe, tiny_folder)
    theirs = own_call(tiny_pipe, "pixart", tiny_folder)
    untouched = images_of(theirs)
    found = images_of(theirs.with_steps(6, levels))
    assert len(tiny_pipe.scheduler.timesteps) == len(levels)
    assert is_untouched(tiny_pipe.scheduler)
    assert np.array_equal(found, images_of(ours.with_steps(6, levels)))
    assert np.array_equal(found, untouched) == (len(levels) == 6)
    assert np.array_equal(images_of(theirs), untouched)
    assert theirs.with_steps(6, levels).with_steps(3).settings.levels is None


@pytest.mark.parametrize("levels", [(0,), (0, 2, 3), (0, 1, 2, 3)])
def test_the_own_call_of_flux_is_our_sampler(flux_sampler: Any, levels: tuple[int, ...]) -> None:
    flux_sampler = flux_sampler.with_steps(4)  # which decodes
    flux_sampler._model.load_text_encoders()
    theirs = AnyPipelineSampler(flux_sampler._model, flux_sampler.settings)
    expected = images_of(flux_sampler.with_steps(4, levels))
    assert np.array_equal(images_of(theirs.with_steps(4, levels)), expected)


@pytest.mark.parametrize(
    ("build", "family", "model", "pixels"),
    [
        (tiny_qwen_image, "qwen-image", "qwen-image", 16),
        (tiny_chroma, "chroma", "chroma-hd", 16),
        (tiny_lumina2, "lumina2", "lumina-image-2.0", 32),
    ],
)
def test_they_are_those_of_the_call_with_these_sigmas(
    build: Any, family: str, model: str, pixels: int
) -> None:
    """Where a call takes the sigmas: these pipelines shift each of them by itself."""
    pipe = build()
    sampler = own_call(pipe, family, model, height=pixels, width=pixels)
    untouched = images_of(sampler)
    assert np.array_equal(images_of(sampler.with_steps(6, tuple(range(6)))), untouched)
    found = images_of(sampler.with_steps(6, (0, 1, 4)))
    sigmas = pipe.scheduler.sigmas
    assert is_untouched(pipe.scheduler)
    call = sampler._call
    call._arguments = {**call._arguments, "num_inference_steps": 3, "sigmas": SIGMAS[[0, 1, 4]].tolist()}
    assert np.array_equal(images_of(sampler), found)
    assert torch.equal(pipe.scheduler.sigmas, sigmas)
    assert not np.array_equal(found, untouched)


def test_a_call_that_takes_no_sigmas_is_at_its_levels() -> None:
    """UniPC, and a pipeline that asks its scheduler for nothing but a number of steps."""
    pipe = build_wan()
    sampler = own_call(pipe, "wan", "wan2.1-1.3b", num_frames=5)
    untouched = images_of(sampler)
    timesteps, sigmas = pipe.scheduler.timesteps, pipe.scheduler.sigmas
    assert np.array_equal(images_of(sampler.with_steps(6, tuple(range(6)))), untouched)
    assert not np.array_equal(images_of(sampler.with_steps(6, (0, 2, 3))), untouched)
    assert torch.equal(pipe.scheduler.timesteps, timesteps[[0, 2, 3]])
    assert torch.equal(pipe.scheduler.sigmas, sigmas[[0, 2, 3, 6]])
    assert pipe.scheduler.num_inference_steps == 3


@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (DDIMScheduler(), "it keeps no tensor of the noise levels of its steps"),
        (HeunDiscreteScheduler(), "it makes 11 timesteps of 6 steps"),
        (DPMSolverSinglestepScheduler(), "it makes order_list of its steps, too"),
    ],
)
def test_what_cannot_be_cut_down_is_refused_in_one_line(
    tiny_pipe: Any, tiny_folder: Path, scheduler: Any, reason: str
) -> None:
    tiny_pipe.scheduler = scheduler
    sampler = own_call(tiny_pipe, "pixart", tiny_folder)
    images_of(sampler)  # without levels it runs
    refused_in_one_line(scheduler, reason, lambda: images_of(sampler.with_steps(6, (0, 2, 3))))
    assert is_untouched(scheduler)


class SteppingPipe:
    """Takes the first `steps` of its scheduler's steps, or all of them."""

    def __init__(self, steps: int | None = None) -> None:
        self.scheduler: Any = FlowMatchEulerDiscreteScheduler()
        self.seen: list[torch.Tensor] = []
        self._steps = steps

    def run(self) -> None:
        self.scheduler.set_timesteps(6)
        self.step(self.scheduler)

    def step(self, scheduler: Any) -> None:
        self.seen.append(scheduler.timesteps)
        for timestep in scheduler.timesteps[: self._steps]:
            scheduler.step(torch.zeros(1), timestep, torch.zeros(1))


class CopyingPipe(SteppingPipe):
    """Denoises with a copy of the scheduler, as pipelines do for sound: made `before` its timesteps, or after."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self._before = before
        self.copied: Any = None

    def run(self) -> None:
        if not self._before:
            self.scheduler.set_timesteps(6)
        self.copied = deepcopy(self.scheduler)
        if self._before:
            self.copied.set_timesteps(6)
        self.step(self.copied)


class OtherPipe(SteppingPipe):
    def run(self) -> None:
        other = type(self.scheduler).from_config(self.scheduler.config)
        other.set_timesteps(6)
        self.step(other)


class NoSteps(SteppingPipe):
    def step(self, scheduler: Any) -> None:
        """By arithmetic of its own."""


@pytest.mark.parametrize("before", [True, False])
def test_copies_of_the_scheduler_keep_the_same_levels(before: bool) -> None:
    pipe = CopyingPipe(before)
    with kept_levels(pipe, 6, (0, 2)):
        pipe.run()
    assert len(pipe.seen[0]) == 2
    assert is_untouched(pipe.scheduler)
    pipe.copied.set_timesteps(6)  # should the pipeline have kept it
    assert len(pipe.copied.timesteps) == 6


@pytest.mark.parametrize(
    ("pipe", "reason"),
    [
        (OtherPipe(), "its call does not set the timesteps of its scheduler"),
        (NoSteps(), "its scheduler took 0 steps where it had 2"),
        (SteppingPipe(steps=1), "its scheduler took 1 steps where it had 2"),
    ],
)
def test_a_call_that_takes_other_steps_is_refused(pipe: Any, reason: str) -> None:
    name = type(pipe).__name__
    with (
        pytest.raises(
            ModelError, match=rf"^{name} cannot run at some of its noise levels \({reason}\): leave out"
        ),
        kept_levels(pipe, 6, (0, 2)),
    ):
        pipe.run()
    assert is_untouched(pipe.scheduler)


def test_a_pipeline_without_a_scheduler_is_refused() -> None:
    with (
        pytest.raises(ModelError, match="^object cannot run at .*it has no scheduler that makes timesteps"),
        kept_levels(object(), 6, (0, 2)),
    ):
        pass


def test_the_scheduler_is_its_own_again_after_an_error() -> None:
    pipe = SteppingPipe()
    scheduler = pipe.scheduler
    names = list(inspect.signature(scheduler.set_timesteps).parameters)

    def fail() -> None:
        # Pipelines ask which arguments it takes.
        assert list(inspect.signature(scheduler.set_timesteps).parameters) == names
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), kept_levels(pipe, 6, (0, 2)):
        fail()
    assert is_untouched(scheduler)
    scheduler.set_timesteps = own = scheduler.set_timesteps  # somebody else's
    with kept_levels(pipe, 6, (0, 2)):
        pipe.run()
    assert len(pipe.seen[0]) == 2
    assert vars(scheduler)["set_timesteps"] is own
