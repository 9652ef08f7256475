"""Schedules that do the same in their first steps: these steps need to be computed only once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecad.schedule.liveness import plan_execution
from ecad.schedule.schedule import Schedule


def shared_steps(first: Schedule, second: Schedule) -> int:
    """How many leading steps of the two schedules (of equal shape) compute and read the same components; none if they
    hold different things where the whole output is reused.

    After so many steps of the one, the other has the same latents, and the same newest outputs of its components.
    """
    return _common(_rows(first), _rows(second))


def group_by_prefix(schedules: Sequence[Schedule], most: int) -> list[list[int]]:
    """Groups of at most `most` schedules (indices), in which neighbours share their first steps.

    The schedules are sorted by what they do, and of all ways to cut the sorted list into groups it is the one that
    saves the most component executions. Groups come in the order of their lowest index.
    """
    rows = [_rows(schedule) for schedule in schedules]
    ordered = sorted(range(len(schedules)), key=lambda index: (rows[index], index))
    work = [_work_before(schedules[index]) for index in ordered]
    # saved_by[k]: what is saved if number k of the order is in the same group as its predecessor.
    saved_by = [0] + [
        int(work[number][_common(rows[ordered[number - 1]], rows[ordered[number]])])
        for number in range(1, len(ordered))
    ]
    # best[k]: (most that the first k can save, size of the last group then)
    best = [(0, 0)]
    for end in range(1, len(ordered) + 1):
        options = [
            (best[end - size][0] + sum(saved_by[end - size + 1 : end]), size)
            for size in range(1, min(most, end) + 1)
        ]
        best.append(max(options, key=lambda option: (option[0], -option[1])))
    groups = []
    end = len(ordered)
    while end > 0:
        start = end - best[end][1]
        groups.append(ordered[start:end])
        end = start
    return sorted(groups, key=min)


def _rows(schedule: Schedule) -> list[bytes]:
    """What is computed, read and held in each step, to be compared."""
    plan = plan_execution(schedule)
    return [
        schedule.holds.encode()
        + plan.runs_output[step].tobytes()
        + b"".join(
            flags[name][step].tobytes() for flags in (plan.runs, plan.reads) for name in schedule.recompute
        )
        for step in range(schedule.steps)
    ]


def _work_before(schedule: Schedule) -> npt.NDArray[np.int64]:
    """Component executions before each step, and of all steps: shape (steps + 1,).

    What surrounds the blocks does not count: this only says which candidates are worth being put together.
    """
    runs = plan_execution(schedule).runs
    per_step = sum(flags.sum(axis=(1, 2), dtype=np.int64) for flags in runs.values())
    return np.concatenate([[0], np.cumsum(per_step)])


def _common(first: Sequence[bytes], second: Sequence[bytes]) -> int:
    for step, (one, other) in enumerate(zip(first, second, strict=True)):
        if one != other:
            return step
    return len(first)
