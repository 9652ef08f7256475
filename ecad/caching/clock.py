"""Which step of the schedule is a forward of the transformer? Read from the scheduler, never from the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ecad.errors import ScheduleError


@dataclass(frozen=True)
class Tick:
    """One forward of the transformer: its step, and whether it is the first of a pipeline call."""

    step: int
    is_first: bool


class StepClock(Protocol):
    """Tells the step of each forward. `tick` is called once per forward, before anything is computed."""

    def tick(self) -> Tick: ...

    def reset(self) -> None: ...


class SchedulerClock:
    """The step index of the pipeline's scheduler.

    `set_timesteps` makes a new `timesteps` tensor and sets `step_index` to None at the start of every pipeline
    call, so a call that was interrupted cannot leave a stale count. Image-to-image calls start at the
    scheduler's `begin_index`. Schedulers without a `step_index` (DDIM, DDPM) are counted from the same event.
    """

    def __init__(self, get_scheduler: Callable[[], Any], steps: int) -> None:
        self._get_scheduler = get_scheduler  # a getter, since users replace `pipe.scheduler`
        self._steps = steps
        self.reset()

    def reset(self) -> None:
        self._timesteps: Any = None  # the tensor that marks the current call
        self._last_step: int | None = None

    def tick(self) -> Tick:
        scheduler = self._get_scheduler()
        timesteps = getattr(scheduler, "timesteps", None)
        if timesteps is None or getattr(scheduler, "num_inference_steps", 0) is None:
            raise ScheduleError(
                "the scheduler has no timesteps yet: call scheduler.set_timesteps(...) before the transformer, "
                "or apply the schedule to the transformer alone"
            )
        is_new_call = timesteps is not self._timesteps
        if is_new_call and len(timesteps) != self._steps:
            raise ScheduleError(
                f"this call runs {len(timesteps)} steps ({type(scheduler).__name__}), but the applied schedule "
                f"is for {self._steps} steps: call the pipeline with num_inference_steps={self._steps} or apply "
                "a schedule for the steps you want"
            )
        last_step = None if is_new_call else self._last_step
        if hasattr(scheduler, "step_index"):
            step = scheduler.step_index
            if step is None:
                step = getattr(scheduler, "begin_index", None) or 0
                # The same loop started again on the same timesteps, without a pipeline call in between.
                is_new_call = is_new_call or last_step != step
        else:
            step = 0 if last_step is None else last_step + 1
        if not is_new_call and last_step is not None and step <= last_step:
            raise ScheduleError(
                f"the transformer ran twice in step {step}: a pipeline that calls it more than once a step "
                "(separate guidance passes) would mix up the stored outputs, and ecad does not support it here"
            )
        if not 0 <= step < self._steps:
            raise ScheduleError(
                f"the scheduler is at step {step}, the applied schedule has {self._steps} steps"
            )
        self._timesteps = timesteps
        self._last_step = step
        return Tick(step, is_first=is_new_call)


class CountingClock:
    """For a transformer without a pipeline: every forward is the next step, until `reset()`."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.reset()

    def reset(self) -> None:
        self._count = 0

    def tick(self) -> Tick:
        step = self._count
        if step >= self._steps:
            raise ScheduleError(
                f"forward number {step + 1} of the transformer, but the applied schedule has {self._steps} "
                "steps: call reset() on what ecad.apply returned before each new image"
            )
        self._count += 1
        return Tick(step, is_first=step == 0)
