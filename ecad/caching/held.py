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
    """The clean sample predicted last in a call of this pipeline, and its scheduler's `step`, which it stands before.

    After guidance, and whatever a pipeline does with the outputs of its passes: as the scheduler is given it.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline  # whose scheduler it is at each call, since users replace `pipe.scheduler`
        self._scheduler: Any = None  # that we stand before
        self._step: _HoldingStep | None = None
        self.clear()

    def clear(self) -> None:
        """A call begins, or is over."""
        self.denoised: torch.Tensor | None = None
        self._number: int | None = None  # of the step that the transformer was called in
        self._runs = False  # in any of its passes
        self._keeps = False  # whether a later step goes on with it
        self._is_done = False  # whether the scheduler has made this step

    def attach(self, again: bool) -> None:
        """Stand before the scheduler; `again`: look whether the pipeline has another one meanwhile.

        ScheduleError for one whose clean sample is not known.
        """
        if self._scheduler is None or again:
            scheduler = self._pipeline.scheduler
            if scheduler is self._scheduler:
                return
            self.remove()
            if needs_conversion(scheduler):
                self._step = scheduler.__dict__["step"] = _HoldingStep(self, scheduler)
            self._scheduler = scheduler

    def remove(self) -> None:
        """Leave no trace on the scheduler."""
        if self._step is not None:
            self._step.held = None  # another tool may have wrapped it
            if self._scheduler.__dict__.get("step") is self._step:
                del self._scheduler.__dict__["step"]
        self._scheduler = self._step = None

    def note(self, step: int, runs: bool, keeps: bool) -> None:
        """The transformer was called in this step: whether it ran, and whether a later step goes on from this one."""
        if step != self._number:
            self._number, self._runs, self._keeps, self._is_done = step, False, False, False
        self._runs |= runs
        self._keeps |= keeps

    def output_at(
        self, scheduler: Any, output: torch.Tensor, timestep: Any, sample: torch.Tensor
    ) -> torch.Tensor:
        """What the scheduler is to be given in place of the output."""
        number = self._number
        if number is None:
            return output
        if self._runs:
            self.denoised = denoised_of(scheduler, number, timestep, sample, output) if self._keeps else None
            return output
        if self._is_done or self.denoised is None or self.denoised.shape != sample.shape:
            raise ScheduleError(
                "this pipeline makes several samples with one scheduler, of which a schedule that holds the clean "
                "sample predicted last cannot tell whose it is: use one that holds the output"
            )
        self._is_done = True
        made = output_for(scheduler, number, timestep, sample, self.denoised)
        if not self._keeps:
            self.denoised = None
        return made.to(output.dtype)  # which decides that of the latents


class _HoldingStep:
    """A scheduler's `step` behind what is held."""

    def __init__(self, held: HeldSample, scheduler: Any) -> None:
        self.held: HeldSample | None = held
        self._scheduler = scheduler
        self._made = scheduler.step
        self.__signature__ = inspect.signature(self._made)  # pipelines look for `eta` and `generator` in it

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        if self.held is not None:
            model_output = self.held.output_at(self._scheduler, model_output, timestep, sample)
        return self._made(model_output, timestep, sample, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """That of the scheduler's copy, which is nobody's."""
        copied = memo[id(self._scheduler)]
        return MethodType(type(copied).step, copied)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        raise ScheduleError(
            "a schedule is applied to the pipeline of this scheduler, which cannot be pickled until ecad.remove(...)"
        )
