"""What a comparison's contenders have to do, so far as their times can be compared by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecad.measuring.latency_table import executions
from ecad.measuring.measurements import Contender
from ecad.schedule import Schedule

_STEPS = ("scheduler", "steps")


def work_of(contenders: Sequence[Contender]) -> dict[str, Mapping[tuple[str, str], float]]:
    """By a contender's name: how often each component, the transformer as a whole and the scheduler run for an image.

    Other pipelines are left out, and so is a schedule of another shape than the first one's.
    """
    schedules = [each.schedule for each in contenders if each.schedule is not None]
    if not schedules:
        return {each.name: {_STEPS: each.steps} for each in contenders if each.pipeline is None}
    shape = schedules[0].shape
    uncached = executions(Schedule.all_recompute(shape))
    work: dict[str, Mapping[tuple[str, str], float]] = {}
    for each in contenders:
        if each.pipeline is not None:
            continue
        if each.schedule is None:
            counts = {part: count * each.steps / shape.steps for part, count in uncached.items()}
        elif each.schedule.shape == shape:
            counts = {part: float(count) for part, count in executions(each.schedule).items()}
        else:
            continue
        work[each.name] = {**counts, _STEPS: float(each.steps)}
    return work
