"""Steps in which nothing of the transformer runs: exact, per pass, beside other tools, and without a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline

import ecad
from ecad.schedule import Schedule, effective, plan_execution, stored_after_step

STEPS = 6
TRUE_GUIDANCE: dict[str, Any] = {"true_cfg_scale": 3.0, "negative_prompt": "a blue square"}


@pytest.fixture(params=["output:0", "output:0,2,3", "mixed:0", "mixed:1", "mixed:2"])
def schedule(case: Any, request: pytest.FixtureRequest) -> Schedule:
    kind, _, argument = request.param.partition(":")
    found = case.mixed_schedule(int(argument)) if kind == "mixed" else case.heuristic(request.param)
    assert found.reuses_output
    return found


def test_images_equal_a_plain_implementation(case: Any, schedule: Schedule) -> None:
    untouched, expected = case.run(), case.reference_images(schedule)
    before = {name: set(vars(module)) for name, module in case.pipe.transformer.named_modules()}
    held: list[int] = []
    with case.recorded_executions() as executed, ecad.applied(case.pipe, schedule) as handle:
        images = case.run_noting(lambda _: held.append(handle.stored_outputs))
        counts = (handle.recomputed, handle.reused)
    assert np.array_equal(images, expected)
    assert not np.array_equal(images, untouched)
    for name, runs in effective(schedule).recompute.items():
        assert np.array_equal(executed[name], runs)
    ran = sum(int(array.sum()) for array in executed.values())
    assert counts == (ran, STEPS * case.total - ran)
    assert held == sum(stored_after_step(schedule).values()).tolist()
    assert {name: set(vars(module)) for name, module in case.pipe.transformer.named_modules()} == before
    assert np.array_equal(case.run(), untouched)


def test_the_transformer_runs_in_those_steps_only(case: Any, schedule: Schedule) -> None:
    """Its embedders and its last layer too."""
    steps: list[int] = []
    hook = case.pipe.transformer.proj_out.register_forward_hook(lambda *_: steps.append(case.step()))
    with ecad.applied(case.pipe, schedule):
        case.run()
    hook.remove()
    assert steps == np.flatnonzero(schedule.recompute_output).tolist()
    assert len(steps) == schedule.transformer_runs


def test_reusing_all_components_is_not_the_same(case: Any) -> None:
    """There the embedders, gates and the last layer still see the new timestep and latents."""
    images = []
    for name in ("mask:0,2,3", "output:0,2,3"):
        with ecad.applied(case.pipe, case.heuristic(name)):
            images.append(case.run())
    assert not np.array_equal(*images)


def test_batches_and_changed_batch_size(case: Any) -> None:
    schedule = case.mixed_schedule(1)
    calls: list[dict[str, Any]] = [{"prompt": ["a red circle", "a blue square"]}, {"guidance_scale": 1.0}, {}]
    expected = [case.reference_images(schedule, **call) for call in calls]
    with ecad.applied(case.pipe, schedule):
        for call, images in zip(calls, expected, strict=True):
            assert np.array_equal(case.run(**call), images)


def test_each_pass_of_true_guidance_has_its_own(flux: Any) -> None:
    schedule = flux.mixed_schedule(1)
    expected = flux.reference_images(schedule, **TRUE_GUIDANCE)
    with ecad.applied(flux.pipe, schedule):
        assert np.array_equal(flux.run(**TRUE_GUIDANCE), expected)


@pytest.mark.parametrize(("strength", "first_step"), [(0.67, 1), (0.5, 3), (0.2, 4)])
@pytest.mark.parametrize("guidance", [{}, TRUE_GUIDANCE])
def test_strength_enters_the_schedule_in_the_middle(
    flux: Any, strength: float, first_step: int, guidance: dict[str, Any]
) -> None:
    """Also in a step in which nothing should run: there is nothing to reuse yet."""
    flux.pipe = FluxImg2ImgPipeline(**flux.pipe.components)
    flux.pipe.set_progress_bar_config(disable=True)
    picture = torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    call = {"image": picture, "strength": strength, **guidance}
    schedule = flux.random_schedule(3, 0.5).replace(
        recompute_output=np.array([1, 0, 1, 0, 0, 1], dtype=np.bool_)
    )
    expected = flux.reference_images(schedule, **call)
    with flux.recorded_executions() as executed, ecad.applied(flux.pipe, schedule):
        images = flux.run(**call)
    for name, runs in plan_execution(schedule, first_step).runs.items():
        assert np.array_equal(executed[name], (2 if guidance else 1) * runs)
    assert np.array_equal(images, expected)


def test_a_tool_that_comes_later_and_goes_round_the_hook_is_refused(case: Any) -> None:
    """Its components would be left out without the output that stands for them."""
    transformer = case.pipe.transformer
    steps_done: list[int] = []
    with ecad.applied(case.pipe, case.heuristic("output:0,2")):
        hooked = transformer.forward
        transformer.forward = type(transformer).forward.__get__(transformer)
        with pytest.raises(ecad.ScheduleError, match="the transformer did not run under ecad's control"):
            case.run_noting(steps_done.append)
        assert not steps_done
        transformer.forward = hooked
        case.run()


def test_no_hook_on_the_transformer_where_it_always_runs(case: Any) -> None:
    transformer = case.pipe.transformer
    forwards = []
    for name in ("fora:2", "output:0,2"):
        with ecad.applied(case.pipe, case.heuristic(name)):
            forwards.append(transformer.forward)
    assert forwards[0] == type(transformer).forward.__get__(transformer) != forwards[1]


def test_an_error_in_the_transformer_leaves_no_trace(case: Any) -> None:
    def fail(*_: Any) -> None:
        if case.step() == 2:
            raise RuntimeError("out of memory")

    with ecad.applied(case.pipe, case.heuristic("output:0,2,3")):
        expected = case.run()
        hook = case.pipe.transformer.proj_out.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            case.run()
        hook.remove()
        assert np.array_equal(case.run(), expected)
