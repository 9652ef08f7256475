"""What the solver goes on with where nothing of the transformer runs: the clean sample that was predicted last.

A solver that steps over noise levels goes on with what it integrates, and for most of them that is the clean sample
(x0): DPM-Solver++ and UniPC interpolate it, and within one step of DDIM or Euler it is constant. The transformer's
output is that only up to the noise level and the sample of its step. So the output that the scheduler is given in a
step that reuses it is made anew, of what was predicted before and of the sample now.
"""

from __future__ import annotations

import inspect
from types import MethodType
from typing import Any, SupportsIndex

import torch

from ecad.caching.denoised import denoised_of, needs_conversion, output_for
from ecad.errors import ScheduleError


class HeldSample:
    """The clean sample predicted last in a call of this pipeline; it stands before its scheduler's `step`.

    After guidance, and whatever a pipeline does with the outputs of its passes: as the scheduler is given it.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline  # whose scheduler it is at each call, since users replace `pipe.scheduler`
        self._scheduler: Any = None  # that we stand before, or need not
        self._step: _HoldingStep | None = None
        self.clear()

    def clear(self) -> None:
        """A call begins, or is over."""
        self.denoised: torch.Tensor | None = None
        self._timesteps: Any = None  # of the call: other users of the scheduler have others
        self._number: int | None = None  # of the step that the transformer was called in
        self._runs = False  # in any of its passes
        self._keeps = False  # whether a later step goes on with it
        self._is_done = False  # whether the scheduler has made this step

    def attach(self, again: bool) -> None:
        """Stand before the scheduler; `again`: look whether the pipeline has another one, or it another `step`.

        ScheduleError for one whose clean sample is not known.
        """
        if self._scheduler is not None and not again:
            return
        scheduler = self._pipeline.scheduler
        is_needed = needs_conversion(self._pipeline)
        is_there = not is_needed or scheduler.__dict__.get("step") is self._step
        if scheduler is self._scheduler and is_there:
            return
        self.remove()
        if is_needed:
            known = scheduler.__dict__.get("step")
            self._step = known if isinstance(known, _HoldingStep) else _HoldingStep(scheduler)
            self._step.held.append(self)
        self._scheduler = scheduler

    def remove(self) -> None:
        """Leave no trace on the scheduler."""
        if self._step is not None:
            self._step.leave(self)
        self._scheduler = self._step = None

    def note(self, step: int, runs: bool, keeps: bool) -> None:
        """The transformer was called in this step: whether it ran, and whether a later step goes on from this one.

        ScheduleError if the scheduler made the step before without our seeing it.
        """
        if step != self._number:
            if self._step is not None and self._number is not None and not (self._runs or self._is_done):
                raise ScheduleError(
                    f"step {self._number} did not go through the `step` of {type(self._scheduler).__name__}, where the "
                    "clean sample is held: another tool has replaced it during the call; remove that, or use a "
                    "schedule that holds the output"
                )
            self._number, self._runs, self._keeps, self._is_done = step, False, False, False
        self._timesteps = self._pipeline.scheduler.timesteps
        self._runs |= runs
        self._keeps |= keeps

    def output_at(
        self, scheduler: Any, output: torch.Tensor, timestep: Any, sample: torch.Tensor
    ) -> torch.Tensor:
        """What the scheduler is to be given in place of the output."""
        number = self._number
        if number is None or scheduler.timesteps is not self._timesteps:  # somebody else's call
            return output
        is_again, self._is_done = self._is_done, True
        if self._runs:
            if not is_again:  # else the first one is held, and another is refused when a step reuses it
                self.denoised = (
                    denoised_of(scheduler, number, timestep, sample, output) if self._keeps else None
                )
            return output
        if is_again or self.denoised is None:
            raise ScheduleError(
                "this pipeline makes several samples with one scheduler, of which a schedule that holds the clean "
                "sample predicted last cannot tell whose it is: use one that holds the output"
            )
        if self.denoised.shape != sample.shape:
            raise ScheduleError(
                f"the latents have the shape {tuple(sample.shape)} in step {number}, and "
                f"{tuple(self.denoised.shape)} when the clean sample that is held was predicted: let a schedule "
                "compute where the size changes, or use one that holds the output"
            )
        made = output_for(scheduler, number, timestep, sample, self.denoised)
        if not self._keeps:
            self.denoised = None
        return made.to(output.dtype)  # which decides that of the latents


class _HoldingStep:
    """A scheduler's `step` behind what is held: of each pipeline that a schedule is applied to and that has it."""

    def __init__(self, scheduler: Any) -> None:
        self.held: list[HeldSample] = []
        self._scheduler = scheduler
        self._replaced = scheduler.__dict__.get("step")  # another tool's
        self._made = scheduler.step
        self.__signature__ = inspect.signature(self._made)  # pipelines look for `eta` and `generator` in it
        scheduler.__dict__["step"] = self

    def leave(self, held: HeldSample) -> None:
        self.held.remove(held)
        attributes = self._scheduler.__dict__
        # Inside of another tool's that has wrapped it meanwhile it stays, and does nothing.
        if self.held or attributes.get("step") is not self:
            return
        if self._replaced is None:
            del attributes["step"]
        else:
            attributes["step"] = self._replaced

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        for held in self.held:
            model_output = held.output_at(self._scheduler, model_output, timestep, sample)
        return self._made(model_output, timestep, sample, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """That of the scheduler's copy, which is nobody's."""
        copied = memo.get(id(self._scheduler), self._scheduler)
        return MethodType(type(copied).step, copied)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        raise ScheduleError(
            "a schedule is applied to the pipeline of this scheduler, which cannot be pickled until ecad.remove(...)"
        )
