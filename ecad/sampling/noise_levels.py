"""Some of a scheduler's own noise levels: the untouched model with fewer steps, at levels that one chooses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import numpy as np
import torch

from ecad.errors import ModelError
from ecad.sampling.base import Job, Sampler


def set_levels(scheduler: Any, steps: int, levels: Sequence[int] | None, device: Any) -> torch.Tensor:
    """Start the scheduler with `steps` steps, or at the `levels` (step numbers) of these only; its timesteps.

    By its custom timesteps. ModelError for a scheduler that has none, or that makes other noise levels of them.
    """
    scheduler.set_timesteps(steps, device=device)
    timesteps: torch.Tensor = scheduler.timesteps
    if levels is None:
        return timesteps
    if len(timesteps) != steps:
        raise _cannot(scheduler, f"it makes {len(timesteps)} timesteps of {steps} steps")
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise _cannot(scheduler, "it takes no custom timesteps")
    chosen, sigmas = timesteps[list(levels)], getattr(scheduler, "sigmas", None)
    try:
        scheduler.set_timesteps(timesteps=chosen.tolist(), device=device)
    except ValueError as error:  # Karras sigmas and their like
        raise _cannot(scheduler, str(error)) from None
    check_levels(scheduler, chosen, sigmas, levels)
    return scheduler.timesteps  # type: ignore[no-any-return]


def check_levels(scheduler: Any, timesteps: torch.Tensor, sigmas: Any, levels: Sequence[int]) -> None:
    """ModelError unless the scheduler is now at these timesteps, and at the same levels of the earlier `sigmas`."""
    same = _close(scheduler.timesteps, timesteps)
    if same and isinstance(sigmas, torch.Tensor):
        wanted = torch.cat([sigmas[list(levels)], sigmas[-1:]])  # the last one is where the denoising ends
        same = _close(scheduler.sigmas, wanted)
    if not same:
        raise _cannot(scheduler, "it makes other noise levels of custom ones")


@contextmanager
def kept_levels(pipe: Any, steps: int, levels: Sequence[int]) -> Iterator[None]:
    """Within, the pipeline's scheduler makes the `steps` noise levels that the call asks for, and keeps these of them.

    `levels` are step numbers. By its `set_timesteps`, so whatever the call gives that, and in copies of the scheduler,
    too. ModelError from there for a scheduler that keeps more for its steps than `timesteps` (steps,) and `sigmas`
    (steps + 1,); at the end, for a call that took other steps than these. Nothing is left on the scheduler.
    """
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is None or not hasattr(scheduler, "set_timesteps"):
        raise _cannot(pipe, "it has no scheduler that makes timesteps")
    attributes = vars(scheduler)
    replaced = attributes.get("set_timesteps")  # somebody else's
    keeping = _Keeping(scheduler, scheduler.set_timesteps, _Kept(steps, levels))
    attributes["set_timesteps"] = keeping  # on the object, where it hides the class's
    try:
        yield
    finally:
        keeping.kept.is_over = True
        del attributes["set_timesteps"]
        if replaced is not None:
            attributes["set_timesteps"] = replaced
    keeping.kept.check(pipe)


class _Kept:
    """The levels that are kept in one call of a pipeline, and the schedulers at them: its own, and copies."""

    def __init__(self, steps: int, levels: Sequence[int]) -> None:
        self.steps = steps
        self.levels = list(levels)
        self.schedulers: list[Any] = []
        self.is_over = False

    def keep(self, scheduler: Any, before: dict[str, Any]) -> None:
        """Of what the scheduler has made just now; `before` are the attributes that it had."""
        timesteps, sigmas = scheduler.timesteps, getattr(scheduler, "sigmas", None)
        if len(timesteps) != self.steps:
            raise _cannot(scheduler, f"it makes {len(timesteps)} timesteps of {self.steps} steps")
        if not isinstance(sigmas, torch.Tensor) or sigmas.shape != (self.steps + 1,):
            raise _cannot(scheduler, "it keeps no tensor of the noise levels of its steps")
        if not hasattr(scheduler, "step_index"):
            raise _cannot(scheduler, "it does not say in which step it is")
        more = [
            name
            for name, value in vars(scheduler).items()
            if name not in ("timesteps", "sigmas") and value is not before.get(name) and _is_table(value)
        ]
        if more:
            raise _cannot(scheduler, f"it makes {more[0]} of its steps, too")
        scheduler.timesteps = timesteps[self.levels]
        # The last one is where the denoising ends.
        scheduler.sigmas = torch.cat([sigmas[self.levels], sigmas[-1:]])
        if "num_inference_steps" in vars(scheduler):
            scheduler.num_inference_steps = len(self.levels)
        self.schedulers.append(scheduler)

    def check(self, pipe: Any) -> None:
        """ModelError unless the call took these steps: a pipeline may step by other means, or another scheduler."""
        if not self.schedulers:
            raise _cannot(pipe, "its call does not set the timesteps of its scheduler")
        # A scheduler that has taken no step is in none; its copy may have taken them.
        taken = {index for each in self.schedulers if (index := each.step_index) is not None} or {0}
        if taken != {len(self.levels)}:
            count = next(iter(taken - {len(self.levels)}))
            raise _cannot(pipe, f"its scheduler took {count} steps where it had {len(self.levels)}")


class _Keeping:
    """A scheduler's `set_timesteps` that keeps some levels."""

    def __init__(self, scheduler: Any, made: Any, kept: _Kept) -> None:
        self.kept = kept
        self._scheduler = scheduler
        self._made = made
        self.__signature__ = inspect.signature(made)  # pipelines look for `sigmas` and `timesteps` in it

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        before = dict(vars(self._scheduler))
        self._made(*args, **kwargs)
        if not self.kept.is_over:  # else a copy that the pipeline has kept
            self.kept.keep(self._scheduler, before)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Keeping:
        """That of the scheduler's copy: some pipelines denoise sound or single frames with one."""
        copied = memo.get(id(self._scheduler), self._scheduler)
        if any(each is self._scheduler for each in self.kept.schedulers):
            self.kept.schedulers.append(copied)
        return _Keeping(copied, MethodType(type(copied).set_timesteps, copied), self.kept)


def try_levels(sampler: Sampler, prompts: Sequence[str], batch_size: int) -> None:
    """ModelError if the sampler cannot run at some of its noise levels: tried with one image in two steps."""
    steps = sampler.settings.steps
    two = sampler.with_steps(steps, (0, steps // 2))
    two.sample(sampler.encode(prompts, batch_size), [Job(0, 0)])


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Compared on the CPU: not every device has numbers of 64 bits.
    return torch.allclose(one.cpu().double(), other.cpu().double(), rtol=1e-5)


def _is_table(value: Any) -> bool:
    """Whether it has numbers: a solver's list of outputs is empty as yet."""
    if isinstance(value, list | tuple):
        return any(each is not None for each in value)
    return isinstance(value, torch.Tensor | np.ndarray) and value.ndim > 0


def _cannot(who: Any, why: str) -> ModelError:
    return ModelError(
        f"{type(who).__name__} cannot run at some of its noise levels ({why}): leave out the rows steps:I,J,..."
    )
