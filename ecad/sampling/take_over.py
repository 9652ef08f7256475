"""The step at which another transformer of the pipeline takes over (Wan 2.2), and computes everything anew."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from ecad.errors import ModelError
from ecad.families.family import TakeOver


def take_over_in(pipe: Any) -> TakeOver | None:
    """None for a loaded pipeline in which one transformer does all steps."""
    ratio = getattr(pipe.config, "boundary_ratio", None)
    if ratio is None or getattr(pipe, "transformer_2", None) is None:
        return None
    config = {**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__}
    return TakeOver(float(ratio), MappingProxyType(config))


def take_over_step(take_over: TakeOver, steps: int) -> int | None:
    """The first step of the second transformer in calls of so many steps; None if one of the two does all of them.

    As the pipelines of diffusers decide it: the second has the timesteps below the ratio of those of training.
    """
    import diffusers

    name = str(take_over.scheduler.get("_class_name"))
    scheduler_class = getattr(diffusers, name, None)
    if scheduler_class is None:
        raise ModelError(
            f"diffusers has no scheduler {name!r}, which says when the second transformer takes over"
        )
    scheduler = scheduler_class.from_config(dict(take_over.scheduler))
    scheduler.set_timesteps(steps)
    boundary = take_over.boundary_ratio * scheduler.config.num_train_timesteps
    first = int((scheduler.timesteps >= boundary).sum())
    return first if 0 < first < len(scheduler.timesteps) else None
