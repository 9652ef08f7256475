"""Applying schedules to a pipeline: exactness, what runs, what is kept, and how interruptions leave the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

import ecad
from ecad.schedule import Schedule, effective, stored_after_step

STEPS = 6


def attributes(transformer: Any) -> dict[str, set[str]]:
    return {name: set(vars(module)) for name, module in transformer.named_modules()}


def test_all_recompute_and_removal_are_bit_identical(case: Any) -> None:
    untouched = case.run()
    before = attributes(case.pipe.transformer)
    ecad.apply(case.pipe, Schedule.all_recompute(case.shape))
    assert np.array_equal(case.run(), untouched)
    ecad.remove(case.pipe)
    ecad.apply(case.pipe, case.heuristic("fora:3"))
    assert not np.array_equal(case.run(), untouched)
    ecad.remove(case.pipe)
    assert np.array_equal(case.run(), untouched)
    assert attributes(case.pipe.transformer) == before


@pytest.mark.parametrize("name", ["fora:2", "fora:3", "attn:2", "mask:0,1,4", "random:0.5:1", "random:0.2:2"])
def test_images_equal_a_plain_implementation(case: Any, name: str) -> None:
    schedule = case.heuristic(name)
    expected = case.reference_images(schedule)
    with ecad.applied(case.pipe, schedule):
        assert np.array_equal(case.run(), expected)


def test_tgate_is_for_families_with_cross_attention(pixart: Any) -> None:
    schedule = pixart.heuristic("tgate:3")
    expected = pixart.reference_images(schedule)
    with ecad.applied(pixart.pipe, schedule):
        assert np.array_equal(pixart.run(), expected)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_the_scheduled_components_run(case: Any, seed: int) -> None:
    """In PixArt all that are flagged; in FLUX those whose output is read."""
    schedule = case.random_schedule(seed, 0.4)
    with case.recorded_executions() as executed, ecad.applied(case.pipe, schedule) as handle:
        case.run()
        counts = (handle.recomputed, handle.reused)
    for name, expected in effective(schedule).recompute.items():
        assert np.array_equal(executed[name], expected)
    assert (effective(schedule) == schedule) == (case.shape.family == "pixart")
    assert handle.schedule is schedule
    ran = sum(int(array.sum()) for array in executed.values())
    assert counts == (ran, STEPS * case.total - ran)


def test_counts_and_freed_outputs(case: Any) -> None:
    schedule = case.heuristic("fora:3")  # recomputes at steps 0 and 3
    held: list[int] = []
    with ecad.applied(case.pipe, schedule) as handle:
        case.run_noting(lambda _: held.append(handle.stored_outputs))
        # After steps 2 and 5 nothing will be read again. FLUX's single-stream blocks need only proj_out.
        stored = {"pixart": 9, "flux": 2 * 3 + 3}[case.shape.family]
        assert held == [stored, stored, 0, stored, stored, 0]
        assert (handle.recomputed, handle.reused) == (2 * case.total, 4 * case.total)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_stored_is_known_from_the_schedule(case: Any, seed: int) -> None:
    schedule = case.random_schedule(seed, 0.4)
    held: list[int] = []
    with ecad.applied(case.pipe, schedule) as handle:
        case.run_noting(lambda _: held.append(handle.stored_outputs))
    assert held == sum(stored_after_step(schedule).values()).tolist()
    assert held[-1] == 0 < max(held)


def test_batches_images_per_prompt_and_changed_batch_size(case: Any) -> None:
    schedule = case.random_schedule(3)
    calls: list[dict[str, Any]] = [
        {"prompt": ["a red circle", "a blue square"]},
        {"num_images_per_prompt": 3},
        {},
        {"guidance_scale": 1.0},  # PixArt: a batch of one row instead of two
    ]
    expected = [case.reference_images(schedule, **call) for call in calls]
    with ecad.applied(case.pipe, schedule):
        got = [case.run(**call) for call in calls]
    assert [images.shape[0] for images in got] == [2, 3, 1, 1]
    for images, reference in zip(got, expected, strict=True):
        assert np.array_equal(images, reference)


def test_an_interrupted_call_leaves_no_trace(case: Any) -> None:
    class StopHereError(Exception):
        pass

    def interrupt(step: int) -> None:
        if step == 3:
            raise StopHereError

    with ecad.applied(case.pipe, case.random_schedule(5)):
        expected = case.run(seed=1)
        with pytest.raises(StopHereError):
            case.run_noting(interrupt, seed=2)
        assert np.array_equal(case.run(seed=1), expected)


def test_an_error_inside_a_block_leaves_no_trace(case: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    with ecad.applied(case.pipe, case.random_schedule(5)):
        expected = case.run()
        handle = case.pipe.transformer.transformer_blocks[1].ff.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            case.run()
        handle.remove()
        assert np.array_equal(case.run(), expected)


@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, EulerDiscreteScheduler, DDIMScheduler])
def test_other_schedulers(pixart: Any, scheduler: Any) -> None:
    """DDIM has no step_index: its steps are counted from set_timesteps on. Replaced after apply, as users do."""
    schedule = pixart.heuristic("fora:2")
    with ecad.applied(pixart.pipe, schedule) as handle:
        pixart.pipe.scheduler = scheduler.from_config(pixart.pipe.scheduler.config)
        first = pixart.run()
        assert (handle.recomputed, handle.reused) == (27, 27)
        assert np.array_equal(pixart.run(), first)
    assert not np.array_equal(pixart.run(), first)


def test_a_second_apply_is_refused(case: Any) -> None:
    ecad.apply(case.pipe, case.heuristic("fora:2"))
    with pytest.raises(ecad.ScheduleError, match=r"'fora:2'.* already applied.*ecad.remove"):
        ecad.apply(case.pipe, case.heuristic("fora:3"))
    expected = case.run()
    ecad.remove(case.pipe)
    ecad.remove(case.pipe)  # again: nothing to do
    with ecad.applied(case.pipe, case.heuristic("fora:2")):
        assert np.array_equal(case.run(), expected)


def test_applied_removes_after_an_error(case: Any) -> None:
    untouched = case.run()
    with pytest.raises(KeyError), ecad.applied(case.pipe, case.heuristic("fora:2")):
        raise KeyError
    assert np.array_equal(case.run(), untouched)


def test_a_transformer_without_a_pipeline_counts_and_resets(case: Any) -> None:
    transformer = case.pipe.transformer
    handle = ecad.apply(transformer, case.heuristic("mask:0,4"))

    @torch.no_grad()
    def forward(step: int) -> torch.Tensor:
        return transformer(**case.transformer_inputs(step), return_dict=False)[0]

    first = [forward(step) for step in range(STEPS)]
    assert (handle.recomputed, handle.reused) == (2 * case.total, 4 * case.total)
    with pytest.raises(ecad.ScheduleError, match=r"forward number 7.*6 steps.*reset\(\)"):
        forward(STEPS)
    handle.reset()
    assert all(torch.equal(forward(step), first[step]) for step in range(STEPS))
    ecad.remove(transformer)


def test_a_call_that_starts_in_the_middle_recomputes_its_first_step(case: Any) -> None:
    """Image-to-image: `begin_index` is where the schedule is entered, and nothing is stored yet there."""
    scheduler, transformer = case.pipe.scheduler, case.pipe.transformer
    with ecad.applied(case.pipe, case.heuristic("mask:0,4")) as handle, torch.no_grad():
        scheduler.set_timesteps(STEPS)
        scheduler.set_begin_index(2)
        recomputed = []
        for step, timestep in enumerate(scheduler.timesteps[2:]):
            inputs = case.transformer_inputs(step)
            output = transformer(**inputs, return_dict=False)[0]
            latents = inputs["hidden_states"]
            scheduler.step(output[:, : latents.shape[1]], timestep, latents)
            recomputed.append(handle.recomputed)
    # Steps 2 (the first) and 4 recompute all components, 3 and 5 reuse.
    assert recomputed == [case.total, case.total, 2 * case.total, 2 * case.total]
