"""Which step of the schedule is a forward of the transformer? Read from the scheduler, never from the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ecad.errors import ScheduleError

Lane = str | int  # see Tick


@dataclass(frozen=True)
class Tick:
    """One forward of the transformer: its step, and its lane among the forwards of that step.

    Pipelines with true guidance run the transformer twice a step. `lane` tells these forwards apart: the name of
    diffusers' cache context ("cond", "uncond"), or without one a number, 0 for the first forward of the step.
    Every lane has its own stored outputs.
    """

    step: int
    lane: Lane
    starts_call: bool  # the first forward of a pipeline call
    starts_lane: bool  # this lane did not run in the step before: nothing that is stored may be reused
    steps: int  # of the scheduler in the current call


class StepClock(Protocol):
    """Tells the step of each forward. `tick` is called once per forward, before anything is computed."""

    def tick(self, context: str | None = None) -> Tick:
        """`context` is the name of the cache context that is open, or None."""
        ...

    def reset(self) -> None: ...

    def position(self) -> Any:
        """Where in a call the clock is, for `go_to`."""

    def go_to(self, position: Any) -> None:
        """Go on from a position of this or another clock of the same pipeline."""


class SchedulerClock:
    """The step index of the pipeline's scheduler.

    `set_timesteps` makes a new `timesteps` tensor and sets `step_index` to None at the start of every pipeline
    call, so a call that was interrupted cannot leave a stale count. Image-to-image calls start at the
    scheduler's `begin_index`. Schedulers without a `step_index` (DDIM, DDPM) are counted from the same event.

    `numbers_passes` allows several forwards a step outside of any context (FLUX image-to-image with true
    guidance); they must be as many at every step, since only their order tells them apart.
    """

    def __init__(
        self, get_scheduler: Callable[[], Any], steps: int | None, numbers_passes: bool = False
    ) -> None:
        self._get_scheduler = get_scheduler  # a getter, since users replace `pipe.scheduler`
        self._steps = steps  # that every call must have; None: each may have its own
        self._numbers_passes = numbers_passes
        self.reset()

    def reset(self) -> None:
        self._timesteps: Any = None  # the tensor that marks the current call
        self._start_step = 0  # of the current call
        self._last_steps: dict[Lane, int] = {}  # the newest step of each lane in the current call

    def position(self) -> Any:
        return self._timesteps, self._start_step, self._last_steps

    def go_to(self, position: Any) -> None:
        self._timesteps, self._start_step, self._last_steps = position

    def tick(self, context: str | None = None) -> Tick:
        scheduler = self._get_scheduler()
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is None or getattr(scheduler, "num_inference_steps", 0) is None:
            raise ScheduleError(
                "the scheduler has no timesteps yet: call scheduler.set_timesteps(...) before the transformer, "
                "or apply the schedule to the transformer alone"
            )
        starts_call = timesteps is not self._timesteps
        steps = len(timesteps)
        if starts_call and self._steps not in (None, steps):
            raise ScheduleError(
                f"this call runs {steps} steps ({type(scheduler).__name__}), but the applied schedule "
                f"is for {self._steps} steps: call the pipeline with num_inference_steps={self._steps}, apply "
                "a schedule for the steps you want, or stretch this one with ecad.apply(..., steps='resample')"
            )
        last_steps = {} if starts_call else self._last_steps
        if hasattr(scheduler, "step_index"):
            step = scheduler.step_index
            if step is None:
                step = getattr(scheduler, "begin_index", None) or 0
                # The same loop started again on the same timesteps, without a pipeline call in between.
                if any(last != step for last in last_steps.values()):
                    starts_call, last_steps = True, {}
        else:
            step = last_steps.get(0 if context is None else context, -1) + 1
        if not 0 <= step < steps:
            raise ScheduleError(f"the scheduler is at step {step}, the applied schedule has {steps} steps")
        start_step = self._start_step if last_steps else step
        lane = self._number_of_pass(step, start_step, last_steps) if context is None else context
        last_step = last_steps.get(lane)
        if last_step is not None and step <= last_step:
            raise ScheduleError(
                f"the transformer ran twice in step {step}: a pipeline that calls it more than once a step "
                "(separate guidance passes) would mix up the stored outputs, and ecad does not support it here"
            )
        self._timesteps = timesteps
        self._start_step = start_step
        self._last_steps = {**last_steps, lane: step}
        starts_lane = last_step is None or step != last_step + 1
        return Tick(step, lane, starts_call, starts_lane, steps)

    def _number_of_pass(self, step: int, start_step: int, last_steps: dict[Lane, int]) -> int:
        """How many forwards without a context this step has had so far."""
        passes = [last for lane, last in last_steps.items() if isinstance(lane, int)]
        if not self._numbers_passes or not passes:
            return 0
        number = passes.count(step)
        if number == 0 and passes.count(max(passes)) != len(passes):
            raise _uneven_passes(max(passes), passes.count(max(passes)), len(passes))
        if number == len(passes) and step != start_step:
            raise _uneven_passes(step, number + 1, len(passes))
        return number


def _uneven_passes(step: int, count: int, count_before: int) -> ScheduleError:
    return ScheduleError(
        f"the transformer ran {count} times in step {step} of the schedule, but {count_before} times in the step "
        "before: without a cache context round each, the forwards of a step cannot be told apart"
    )


class CountingClock:
    """For a transformer without a pipeline: every forward is the next step (of its context), until `reset()`."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.reset()

    def reset(self) -> None:
        self._counts: dict[Lane, int] = {}  # forwards of each lane

    def position(self) -> Any:
        return dict(self._counts)

    def go_to(self, position: Any) -> None:
        self._counts = dict(position)

    def tick(self, context: str | None = None) -> Tick:
        lane: Lane = 0 if context is None else context
        step = self._counts.get(lane, 0)
        if step >= self._steps:
            raise ScheduleError(
                f"forward number {step + 1} of the transformer, but the applied schedule has {self._steps} "
                "steps: call reset() on what ecad.apply returned before each new image"
            )
        tick = Tick(step, lane, starts_call=not self._counts, starts_lane=step == 0, steps=self._steps)
        self._counts[lane] = step + 1
        return tick
