"""Schedules that hold the clean sample predicted last: what a plain implementation makes, and no trace left."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PixArtAlphaPipeline,
    UniPCMultistepScheduler,
)

import ecad
from ecad.caching.held import HeldSample
from ecad.errors import ScheduleError
from ecad.sampling.base import Job
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import prepare_subject
from ecad.sampling.take_over import take_over_step
from ecad.schedule import HOLDS_DENOISED, HOLDS_OUTPUT, Schedule, effective, heuristic

STEPS = 6


@pytest.fixture(params=["epsilon", "v_prediction"])
def case(pixart: Any, request: pytest.FixtureRequest) -> Any:
    pixart.pipe.scheduler = DPMSolverMultistepScheduler(prediction_type=request.param)
    return pixart


def mixed(case: Any, seed: int) -> Schedule:
    schedule: Schedule = case.mixed_schedule(seed).replace(holds=HOLDS_DENOISED)
    assert schedule.reuses_output
    return schedule


@contextmanager
def plainly_held(pipe: Any, schedule: Schedule) -> Iterator[None]:
    """The solver's own prediction is replaced by the one before, in the steps that reuse the whole output."""
    scheduler, held = pipe.scheduler, []
    original = scheduler.convert_model_output

    def convert(output: torch.Tensor, *, sample: torch.Tensor) -> torch.Tensor:
        if schedule.recompute_output[scheduler.step_index]:
            held[:] = [original(output, sample=sample)]
        return held[0]

    scheduler.convert_model_output = convert
    try:
        yield
    finally:
        del scheduler.convert_model_output


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_images_are_those_of_a_plain_implementation(case: Any, seed: int) -> None:
    schedule = mixed(case, seed)
    with plainly_held(case.pipe, schedule):
        expected = case.reference_images(schedule.replace(holds=HOLDS_OUTPUT))
    with ecad.applied(case.pipe, schedule) as handle:
        for _ in range(2):
            np.testing.assert_allclose(case.run(), expected, atol=1e-4)
            assert handle.stored_outputs == 0
    with ecad.applied(case.pipe, schedule.replace(holds=HOLDS_OUTPUT)):
        assert np.abs(case.run() - expected).max() > 1e-3


def test_it_is_a_larger_step_of_a_first_order_solver(case: Any) -> None:
    """The untouched model at those of its noise levels, with the same solver."""
    prediction = case.pipe.scheduler.config.prediction_type
    case.pipe.scheduler = EulerDiscreteScheduler(prediction_type=prediction)
    case.run()
    kept = [0, 2, 3]
    levels = case.pipe.scheduler.timesteps[kept].tolist()
    expected = case.run(num_inference_steps=len(kept), timesteps=levels)
    with ecad.applied(case.pipe, case.heuristic("denoised:0,2,3")):
        np.testing.assert_allclose(case.run(), expected, atol=1e-3)


def test_nothing_is_left_and_nothing_changed_where_all_is_computed(case: Any) -> None:
    untouched, attributes = case.run(), set(vars(case.pipe.scheduler))
    every = case.heuristic("denoised:" + ",".join(map(str, range(STEPS))))
    assert not every.reuses_output
    with ecad.applied(case.pipe, every):
        assert np.array_equal(case.run(), untouched)
    with ecad.applied(case.pipe, mixed(case, 0)):
        assert not np.array_equal(case.run(), untouched)
        scheduler = case.pipe.scheduler
        plain = inspect.signature(type(scheduler).step).parameters
        assert (
            list(inspect.signature(scheduler.step).parameters) == list(plain)[1:]
        )  # which pipelines look into
    assert set(vars(case.pipe.scheduler)) == attributes
    assert np.array_equal(case.run(), untouched)


def test_after_an_interrupted_call(case: Any) -> None:
    schedule = mixed(case, 1)
    with ecad.applied(case.pipe, schedule):
        expected = case.run()

        def stop(step: int) -> None:
            if step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            case.run_noting(stop, seed=3)
        assert np.array_equal(case.run(), expected)
        # Another number of images: what is held of a call is not for the next.
        assert np.array_equal(case.run(["a red circle", "a blue square"]).shape[:1], [2])


def test_the_scheduler_may_be_another_one_at_each_call(case: Any) -> None:
    schedule = mixed(case, 2)
    others = [UniPCMultistepScheduler.from_config(case.pipe.scheduler.config), case.pipe.scheduler]
    expected = []
    for scheduler in others:
        case.pipe.scheduler = scheduler
        with ecad.applied(case.pipe, schedule):
            expected.append(case.run())
    with ecad.applied(case.pipe, schedule):
        for scheduler, images in zip(others, expected, strict=True):
            case.pipe.scheduler = scheduler
            assert np.array_equal(case.run(), images)
        assert "step" not in vars(others[0])
        case.pipe.scheduler = HeunDiscreteScheduler.from_config(case.pipe.scheduler.config)
        with pytest.raises(ScheduleError):
            case.run()
    assert not any("step" in vars(scheduler) for scheduler in others)


def test_copies_of_the_scheduler_are_nobodys(case: Any) -> None:
    with ecad.applied(case.pipe, mixed(case, 0)):
        case.run()
        copied = copy.deepcopy(case.pipe.scheduler)
        assert copied.step.__func__ is DPMSolverMultistepScheduler.step
        assert copied.step.__self__ is copied
        with pytest.raises(ScheduleError, match=r"cannot be pickled until ecad\.remove"):
            pickle.dumps(case.pipe.scheduler)
    pickle.loads(pickle.dumps(case.pipe.scheduler))


def test_a_tool_that_wraps_the_step_later_keeps_its_own(case: Any) -> None:
    untouched, seen = case.run(), []
    with ecad.applied(case.pipe, mixed(case, 0)):
        expected = case.run()
        ours = case.pipe.scheduler.step

        def theirs(*args: Any, **kwargs: Any) -> Any:
            seen.append(args)
            return ours(*args, **kwargs)

        case.pipe.scheduler.step = theirs
        assert np.array_equal(case.run(), expected)
    assert case.pipe.scheduler.step is theirs
    assert np.array_equal(case.run(), untouched)  # through what is left of ours, which does nothing any more
    assert len(seen) == 2 * STEPS


def test_another_tools_step_is_put_back(case: Any) -> None:
    seen: list[int] = []
    original = case.pipe.scheduler.step

    def theirs(*args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        return original(*args, **kwargs)

    case.pipe.scheduler.step = theirs
    with ecad.applied(case.pipe, mixed(case, 0)):
        case.run()
    assert case.pipe.scheduler.step is theirs
    assert len(seen) == STEPS


def test_a_step_that_is_taken_away_between_calls(case: Any) -> None:
    """Another tool restores the class's own, without knowing of ours."""
    with ecad.applied(case.pipe, mixed(case, 0)):
        expected = case.run()
        del case.pipe.scheduler.step
        assert np.array_equal(case.run(), expected)
    assert "step" not in vars(case.pipe.scheduler)


def test_a_step_that_is_taken_away_during_a_call_is_noticed(case: Any) -> None:
    def take_away(step: int) -> None:
        if step == 1:
            del case.pipe.scheduler.step

    with (
        ecad.applied(case.pipe, case.heuristic("denoised:0,1,5")),
        pytest.raises(
            ScheduleError, match="step 2 did not go through the `step` of DPMSolverMultistepScheduler"
        ),
    ):
        case.run_noting(take_away)


def test_pipelines_that_share_a_scheduler(case: Any) -> None:
    """Each has its own schedule, and one has none: none sees what another holds."""
    components = {**case.pipe.components, "transformer": copy.deepcopy(case.pipe.transformer)}
    other = replace(case, pipe=PixArtAlphaPipeline(**components))
    other.pipe.set_progress_bar_config(disable=True)
    plain = replace(
        case, pipe=PixArtAlphaPipeline(**{**components, "transformer": copy.deepcopy(case.pipe.transformer)})
    )
    plain.pipe.set_progress_bar_config(disable=True)
    assert other.pipe.scheduler is plain.pipe.scheduler is case.pipe.scheduler
    untouched = plain.run()
    # The last step reuses: what is held is not given up by a step that computes.
    schedules = [case.heuristic("denoised:0,3"), case.heuristic("denoised:0,1,4")]
    expected = []
    for each, schedule in zip((case, other), schedules, strict=True):
        with ecad.applied(each.pipe, schedule):
            expected.append(each.run())
    ecad.apply(case.pipe, schedules[0])
    ecad.apply(other.pipe, schedules[1])
    for _ in range(2):
        assert np.array_equal(case.run(), expected[0])
        assert np.array_equal(plain.run(), untouched)
        assert np.array_equal(other.run(), expected[1])
    ecad.remove(other.pipe)
    assert np.array_equal(case.run(), expected[0])
    assert np.array_equal(other.run(), untouched)
    ecad.remove(case.pipe)
    assert "step" not in vars(case.pipe.scheduler)


def started() -> tuple[HeldSample, Any]:
    """What is held of a pipeline whose scheduler is at its first step."""
    scheduler = DPMSolverMultistepScheduler()
    held = HeldSample(SimpleNamespace(scheduler=scheduler))
    held.attach(True)
    scheduler.set_timesteps(STEPS)
    return held, scheduler


def test_a_step_computes_if_any_of_its_passes_does() -> None:
    held, scheduler = started()
    output = sample = torch.ones(1, 4, 8, 8)
    held.note(0, True, True)
    held.note(0, False, True)
    scheduler.step(output, scheduler.timesteps[0], sample)
    first = held.denoised
    assert first is not None
    held.note(1, False, True)
    held.note(1, True, True)
    scheduler.step(2 * output, scheduler.timesteps[1], sample)
    assert held.denoised is not None
    assert not torch.equal(held.denoised, first)
    held.note(2, True, False)  # nobody goes on from here
    scheduler.step(output, scheduler.timesteps[2], sample)
    assert held.denoised is None


def test_latents_keep_their_type() -> None:
    held, scheduler = started()
    output = sample = torch.ones(1, 4, 8, 8, dtype=torch.bfloat16)
    for step, runs in enumerate((True, False)):
        held.note(step, runs, not step)
        made = scheduler.step(output, scheduler.timesteps[step], sample, return_dict=False)[0]
        assert made.dtype == torch.bfloat16


def test_another_size_is_refused() -> None:
    held, scheduler = started()
    held.note(0, True, True)
    scheduler.step(torch.ones(1, 4, 8, 8), scheduler.timesteps[0], torch.ones(1, 4, 8, 8))
    held.note(1, False, True)
    with pytest.raises(ScheduleError, match=r"shape \(1, 4, 4, 4\) in step 1, and \(1, 4, 8, 8\) when"):
        scheduler.step(torch.ones(1, 4, 4, 4), scheduler.timesteps[1], torch.ones(1, 4, 4, 4))


def test_image_to_image_enters_in_the_middle(case: Any) -> None:
    """The plain implementation computes in the step that a call enters at."""
    schedule = case.heuristic("denoised:0,1,4")
    case.run()
    with plainly_held(case.pipe, case.heuristic("output:0,2,4")):
        expected = from_step(case, 2, case.heuristic("output:0,2,4"))
    with ecad.applied(case.pipe, schedule):
        np.testing.assert_allclose(from_step(case, 2, None), expected, atol=1e-4)


def from_step(case: Any, begin: int, schedule: Schedule | None) -> np.ndarray:
    """Latents of a call that begins at a step, as image-to-image with `strength` does; the last ones, as numbers."""
    pipe, scheduler = case.pipe, case.pipe.scheduler
    scheduler.set_timesteps(STEPS)
    scheduler.set_begin_index(begin)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    stored: Any = None
    for step in range(begin, STEPS):
        if schedule is None or schedule.recompute_output[step]:
            inputs = {**case.transformer_inputs(0), "hidden_states": latents}
            inputs["timestep"] = scheduler.timesteps[step].reshape(1)
            with torch.no_grad():
                stored = pipe.transformer(**inputs, return_dict=False)[0].chunk(2, dim=1)[0]
        latents = scheduler.step(stored, scheduler.timesteps[step], latents, return_dict=False)[0]
    return latents.numpy()


def test_refusals(case: Any) -> None:
    schedule = mixed(case, 0)
    with pytest.raises(ScheduleError, match="apply it to the pipeline, not to the transformer alone"):
        ecad.apply(case.pipe.transformer, schedule)
    with ecad.applied(case.pipe.transformer, case.heuristic("mask:0,2").replace(holds=HOLDS_DENOISED)):
        pass  # it reuses no whole output: nothing is held
    known = case.pipe.scheduler
    case.pipe.scheduler = HeunDiscreteScheduler()
    with pytest.raises(ScheduleError, match="HeunDiscreteScheduler"):
        ecad.apply(case.pipe, schedule)
    case.pipe.scheduler = known
    assert isinstance(case.pipe, PixArtAlphaPipeline)
    with ecad.applied(case.pipe, case.heuristic("denoised:0")):
        case.run_noting(lambda _: None)
        known.set_timesteps(STEPS)
        latents = torch.zeros(1, 4, 8, 8)
        for step in range(2):
            with torch.no_grad():
                case.pipe.transformer(**case.transformer_inputs(step))
            known.step(latents, known.timesteps[step], latents)
        with pytest.raises(ScheduleError, match="several samples with one scheduler"):
            known.step(latents, known.timesteps[1], latents)


def test_two_transformers_share_it(tmp_path: Path) -> None:
    """Each takes its turn (Wan 2.2), in two passes a step; the second computes in the step in which it takes over."""
    import_module("tiny_pipelines.wan").build(two_transformers=True).save_pretrained(tmp_path)
    overrides = Overrides(steps=STEPS, height=16, width=32, num_frames=5)
    subject = prepare_subject(ModelChoice(str(tmp_path), "cpu"), overrides)
    assert subject.shape.holds == HOLDS_DENOISED  # UniPC, with flow matching
    schedule = heuristic("denoised:0", subject.shape)
    take_over = take_over_step(subject.workload.take_over, STEPS)
    assert take_over is not None
    assert 1 < take_over < STEPS - 1
    conditioning = subject.sampler.encode(["a"], 1)

    def images(applied: Schedule) -> np.ndarray:
        with ecad.applied(subject.sampler.pipe, applied):
            return subject.sampler.sample(conditioning, [Job(0, 0)]).astype(float)

    with plainly_held(subject.sampler.pipe, effective(schedule, take_over)):
        expected = images(schedule.replace(holds=HOLDS_OUTPUT))
    assert np.abs(images(schedule) - expected).max() <= 1
    assert np.abs(images(schedule.replace(holds=HOLDS_OUTPUT)) - expected).max() > 1
    assert "step" not in vars(subject.sampler.pipe.scheduler)
