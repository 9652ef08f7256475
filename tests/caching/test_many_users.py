"""One model and several users: pipelines that share it, threads, copies, pickles, calls that end early."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

import ecad
from ecad.caching.clock import CountingClock
from ecad.caching.inputs import Inputs

STEPS = 6
ANOTHER = "another pipeline, with a scheduler of its own"


def second_pipeline(case: Any, scheduler: Any) -> Any:
    return type(case.pipe)(**{**case.pipe.components, "scheduler": scheduler})


def interrupt(case: Any, after: int) -> None:
    """A call of the first pipeline that ends after so many forwards have begun."""
    seen = []

    def stop(*_: Any) -> None:
        seen.append(1)
        if len(seen) > after:
            raise KeyboardInterrupt

    hook = case.pipe.transformer.transformer_blocks[0].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        case.run()
    hook.remove()


@pytest.mark.parametrize("name", ["all", "fora:2"])
@pytest.mark.parametrize("before", ["nothing", "a call", "an interrupted call", "a call that failed at once"])
def test_a_pipeline_with_another_scheduler_is_refused_by_name(case: Any, name: str, before: str) -> None:
    second = second_pipeline(case, copy.deepcopy(case.pipe.scheduler))
    untouched = case.run()
    with ecad.applied(case.pipe, case.heuristic(name)):
        if before == "a call":
            case.run()
        elif before == "an interrupted call":
            interrupt(case, after=3)
        elif before == "a call that failed at once":
            interrupt(case, after=0)
        first, case.pipe = case.pipe, second
        try:
            with pytest.raises(ecad.ScheduleError, match=ANOTHER):
                case.run()
        finally:
            case.pipe = first
    # The next schedule meets a scheduler that stands where the interrupted call left it.
    with ecad.applied(case.pipe, case.heuristic(name)):
        case.pipe = second
        try:
            with pytest.raises(ecad.ScheduleError, match=ANOTHER):
                case.run()
        finally:
            case.pipe = first
    assert np.array_equal(case.run(), untouched)


def test_a_shared_scheduler_works(case: Any) -> None:
    schedule = case.random_schedule(3)
    with ecad.applied(case.pipe, schedule):
        expected = case.run()
        first = case.pipe
        case.pipe = second_pipeline(case, first.scheduler)
        try:
            assert np.array_equal(case.run(), expected)
        finally:
            case.pipe = first


def test_a_second_thread_in_the_middle_of_a_forward_is_refused(case: Any) -> None:
    """Two forwards at once would share what is stored."""
    failures: list[BaseException] = []

    def call() -> None:
        try:
            case.pipe.transformer(**case.transformer_inputs(1), return_dict=False)
        except ecad.ScheduleError as error:
            failures.append(error)

    def other_thread(*_: Any) -> None:
        hook.remove()
        thread = Thread(target=call)
        thread.start()
        thread.join()

    with ecad.applied(case.pipe.transformer, case.heuristic("fora:2")), torch.no_grad():
        hook = case.pipe.transformer.transformer_blocks[0].register_forward_pre_hook(other_thread)
        case.pipe.transformer(**case.transformer_inputs(0), return_dict=False)
    assert ["two threads run this transformer at once" in str(error) for error in failures] == [True]


def save(model: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), save])
def test_copies_and_pickles_are_refused_while_applied(case: Any, clone: Callable[[Any], Any]) -> None:
    untouched = case.run()
    with ecad.applied(case.pipe, case.heuristic("fora:2")):
        case.run()
        with pytest.raises(ecad.ScheduleError, match=r"neither copied nor pickled: call ecad.remove"):
            clone(case.pipe.transformer)
    own, case.pipe.transformer = case.pipe.transformer, clone(case.pipe.transformer)
    try:
        assert np.array_equal(case.run(), untouched)
    finally:
        case.pipe.transformer = own


@pytest.mark.parametrize("steps_done", [2, 3, 4])
def test_a_transformer_alone_notices_that_an_image_ended_early(case: Any, steps_done: int) -> None:
    transformer = case.pipe.transformer

    @torch.no_grad()
    def forward(step: int) -> torch.Tensor:
        output: torch.Tensor = transformer(**case.transformer_inputs(step), return_dict=False)[0]
        return output

    with ecad.applied(transformer, case.heuristic("mask:0,3")):
        expected = [forward(step) for step in range(4)]
    with ecad.applied(transformer, case.heuristic("mask:0,3")):
        for step in range(steps_done):
            forward(step)
        assert all(torch.equal(forward(step), expected[step]) for step in range(4))


def ticks(*timesteps: float, context: str | None = None) -> list[int]:
    clock = CountingClock(20)
    return [clock.tick(context, Inputs({"timestep": torch.tensor([each])})).step for each in timesteps]


def test_a_counted_call_ends_where_the_timestep_turns_round() -> None:
    assert ticks(9, 7, 5, 3, 9, 7) == [0, 1, 2, 3, 0, 1]
    assert ticks(9, 7, 8, 6) == [0, 1, 0, 1]  # another schedule of noise levels
    assert ticks(1, 3, 5, 1, 3) == [0, 1, 2, 0, 1]  # inversion
    # Heun runs most timesteps twice, but never the first.
    assert ticks(9, 7, 7, 5, 5, 3, 3, 9, 7, 7) == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]
    assert ticks(9, 7, 9, 7, context="cond") == [0, 1, 0, 1]
    assert ticks(9, 9, 9, 9) == [0, 1, 2, 3]  # a benchmark with constant inputs
    clock = CountingClock(2)
    assert [clock.tick().step, clock.tick().step] == [0, 1]  # nothing is known of the timestep


@pytest.mark.parametrize("name", ["fora:2", "attn:2", "output:0,1,4"])
def test_rows_that_change_inside_a_call_are_recomputed(pixart: Any, name: str) -> None:
    """Guidance is switched off in the middle: from two rows to one, nothing that is stored fits any more."""
    transformer, scheduler = pixart.pipe.transformer, pixart.pipe.scheduler

    @torch.no_grad()
    def denoise(rows_before: int, switch_at: int) -> list[torch.Tensor]:
        scheduler.set_timesteps(STEPS)
        outputs = []
        for step, timestep in enumerate(scheduler.timesteps):
            rows = rows_before if step < switch_at else 1
            inputs = pixart.transformer_inputs(step)
            inputs = {
                **inputs,
                "hidden_states": inputs["hidden_states"].expand(rows, -1, -1, -1),
                "encoder_hidden_states": inputs["encoder_hidden_states"].expand(rows, -1, -1),
                "timestep": timestep[None].expand(rows),
            }
            outputs.append(transformer(**inputs, return_dict=False)[0])
            assert len(outputs[-1]) == rows
            sample = inputs["hidden_states"][:1]
            scheduler.step(outputs[-1][:1].chunk(2, dim=1)[0], timestep, sample, return_dict=False)
        return outputs

    for switch_at in (3, 4, 5):
        untouched = denoise(2, switch_at)
        with ecad.applied(pixart.pipe, pixart.heuristic("all")):
            assert all(map(torch.equal, denoise(2, switch_at), untouched))
        with ecad.applied(pixart.pipe, pixart.heuristic(name)):
            cached = denoise(2, switch_at)
            kept = denoise(1, 0)
        assert torch.equal(cached[switch_at], untouched[switch_at])
        assert not torch.equal(kept[3], untouched[3][:1])  # which does reuse where nothing changes
