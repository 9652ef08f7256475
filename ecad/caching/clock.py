"""Which step of the schedule is a forward of the transformer? Read from the scheduler, never from the GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ecad.caching.inputs import Inputs
from ecad.caching.passes import ANOTHER_PIPELINE, Passes
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
    takes_over: bool = False  # another transformer of the pipeline did the call's steps before


class StepClock(Protocol):
    """Tells the step of each forward. `tick` is called once per forward, before anything is computed."""

    def tick(self, context: str | None = None, inputs: Inputs | None = None) -> Tick:
        """`context` is the name of the cache context that is open, or None; `inputs` what the forward was given."""
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

    There may be several forwards a step outside of any context (FLUX image-to-image with true guidance): see `Passes`.

    A pipeline with two transformers (Wan 2.2) has a clock for each: `others` are those of the others. One of them may
    begin in the middle of a call that another began.
    """

    def __init__(self, pipeline: Any, steps: int | None) -> None:
        self._pipeline = pipeline  # whose scheduler it is at each call, since users replace `pipe.scheduler`
        self._steps = steps  # that every call must have; None: each may have its own
        self.others: tuple[SchedulerClock, ...] = ()
        self.reset()

    @classmethod
    def for_all(cls, pipeline: Any, steps: int | None, transformers: int) -> list[SchedulerClock]:
        """One for each transformer of the pipeline."""
        clocks = [cls(pipeline, steps) for _ in range(transformers)]
        for clock in clocks:
            clock.others = tuple(other for other in clocks if other is not clock)
        return clocks

    def reset(self) -> None:
        self._timesteps: Any = None  # the tensor that marks the current call
        self._start_step = 0  # of the current call
        self._passes = Passes()  # without a context, in the current call
        self._last_steps: dict[Lane, int] = {}  # the newest step of each lane in the current call

    def position(self) -> Any:
        return self._timesteps, self._start_step, self._last_steps, self._passes

    def go_to(self, position: Any) -> None:
        self._timesteps, self._start_step, self._last_steps, self._passes = position

    def tick(self, context: str | None = None, inputs: Inputs | None = None) -> Tick:
        scheduler: Any = getattr(self._pipeline, "scheduler", None)
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is None or _was_never_set(scheduler):
            raise ScheduleError(
                "the scheduler has no timesteps yet: call scheduler.set_timesteps(...) before the transformer"
                + ANOTHER_PIPELINE
            )
        starts_call = timesteps is not self._timesteps
        steps = len(timesteps)
        takes_over = any(other._timesteps is timesteps for other in self.others)
        takes_over = takes_over and starts_call and not _is_at_its_start(scheduler)
        if starts_call and not takes_over and not _is_at_its_start(scheduler):
            raise ScheduleError(
                f"the scheduler is at step {scheduler.step_index} of a call that it began before"
                + ANOTHER_PIPELINE
            )
        if starts_call and self._steps not in (None, steps):
            raise ScheduleError(self._other_number(scheduler, steps))
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
            raise ScheduleError(
                f"the scheduler is at step {step}, the applied schedule has {steps} steps" + ANOTHER_PIPELINE
            )
        start_step, passes = (self._start_step, self._passes) if last_steps else (step, Passes())
        lane: Lane
        if context is None:
            lane, passes = passes.next(step, start_step, inputs)
        else:
            lane = context
        last_step = last_steps.get(lane)
        if last_step is not None and step <= last_step:
            raise ScheduleError(
                f"the transformer ran twice in step {step} within one cache context, which would mix up the stored "
                "outputs: give each pass a context of its own" + ANOTHER_PIPELINE
            )
        if starts_call and not takes_over:
            for other in self.others:
                other.reset()
        self._timesteps = timesteps
        self._start_step = start_step
        self._passes = passes
        self._last_steps = {**last_steps, lane: step}
        starts_lane = last_step is None or step != last_step + 1
        return Tick(step, lane, starts_call, starts_lane, steps, takes_over)

    def _other_number(self, scheduler: Any, steps: int) -> str:
        """What to do about a call that does not have the schedule's number of steps."""
        asked = getattr(scheduler, "num_inference_steps", None)
        if asked == self._steps:  # Heun and the like: more calls of the model than steps were asked for
            return (
                f"this call runs the model {steps} times ({type(scheduler).__name__} does so for {asked} steps), and a "
                f"schedule has a row for each time, but the applied one has {self._steps}: apply one for {steps}, or "
                "stretch this one with ecad.apply(..., steps='resample')"
            )
        return (
            f"this call runs {steps} steps ({type(scheduler).__name__}), but the applied schedule is for "
            f"{self._steps} steps: call the pipeline with num_inference_steps={self._steps}, apply a schedule for the "
            "steps you want, or stretch this one with ecad.apply(..., steps='resample')"
        )


def _was_never_set(scheduler: Any) -> bool:
    """Whether the timesteps are those of training, that some schedulers have until `set_timesteps`."""
    if getattr(scheduler, "num_inference_steps", 0) is None:
        return True
    trained = getattr(getattr(scheduler, "config", None), "num_train_timesteps", None)
    return not hasattr(scheduler, "num_inference_steps") and len(scheduler.timesteps) == trained


def _is_at_its_start(scheduler: Any) -> bool:
    """Whether no step of the scheduler's call is done: before its first step an index is None, or where it begins."""
    step = getattr(scheduler, "step_index", None)
    return step is None or step == (getattr(scheduler, "begin_index", None) or 0)


class CountingClock:
    """For a transformer without a pipeline: every forward is the next step (of its context).

    A new image begins with `reset()`, or where the timestep turns round: it goes one way within a call. So an image
    with fewer steps than the schedule (but more than one), or one that was interrupted, leaves nothing for the next.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.reset()

    def reset(self) -> None:
        self._counts: dict[Lane, int] = {}  # forwards of each lane
        self._timesteps: dict[Lane, tuple[float, ...]] = {}  # of each lane: the newest two that differ

    def position(self) -> Any:
        return dict(self._counts), dict(self._timesteps)

    def go_to(self, position: Any) -> None:
        counts, timesteps = position
        self._counts, self._timesteps = dict(counts), dict(timesteps)

    def tick(self, context: str | None = None, inputs: Inputs | None = None) -> Tick:
        lane: Lane = 0 if context is None else context
        timestep = None if inputs is None else inputs.timestep
        if timestep is not None and _goes_back(self._timesteps.get(lane, ()), timestep):
            self.reset()
        step = self._counts.get(lane, 0)
        if step >= self._steps:
            raise ScheduleError(
                f"forward number {step + 1} of the transformer, but the applied schedule has {self._steps} "
                "steps: call reset() on what ecad.apply returned before each new image"
            )
        tick = Tick(step, lane, starts_call=not self._counts, starts_lane=step == 0, steps=self._steps)
        self._counts[lane] = step + 1
        if timestep is not None:
            known = self._timesteps.get(lane, ())
            self._timesteps[lane] = known if known[-1:] == (timestep,) else (*known[-1:], timestep)
        return tick


def _goes_back(known: tuple[float, ...], timestep: float) -> bool:
    """Whether a timestep is none that can follow the newest two that differ, `known`."""
    return len(known) > 1 and (timestep - known[-1]) * (known[-1] - known[-2]) < 0
