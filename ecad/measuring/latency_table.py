"""Latency predicted from a small table that is fitted to measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ecad.arrays import FloatArray
from ecad.errors import ConfigError, ScheduleError, one_line
from ecad.schedule import Schedule, ScheduleShape, heuristic, step_mask
from ecad.schedule.liveness import WHOLE_OUTPUT

Part = tuple[str, str]  # block list, component


class TimeTable(Protocol):
    """Predicts how long a schedule takes, in seconds per image."""

    def predict(self, schedule: Schedule) -> float: ...


@dataclass(frozen=True)
class LatencyTable:
    """Seconds per image = constant + the sum over components of executions x seconds per execution.

    One number per (block list, component) is for all its blocks: where they differ, it is their mean. One more is for
    what a run of the transformer takes beside its components (`WHOLE_OUTPUT`): norms, gates, embedders. The constant
    holds all that no schedule saves: the VAE, the scheduler. It fits one number of steps, one resolution and one batch
    size.
    `error_mean` and `error_max` are the mean and the largest relative error (absolute values) of predicting each
    measured schedule by a fit to all the others (leave-one-out). The largest is usually that of an extreme such as
    "step 0 only", which the others only extrapolate to: it is pessimistic for the mixtures that a search proposes.
    """

    constant_s: float
    seconds_per_execution: Mapping[Part, float]
    error_mean: float
    error_max: float

    @classmethod
    def fit(cls, schedules: Sequence[Schedule], seconds: Sequence[float]) -> LatencyTable:
        """Fit `seconds[i]`, the seconds per image of `schedules[i]`: least squares of the relative errors,
        since ratios of latencies are what is wanted, with no component faster than 0 seconds."""
        if not schedules or len(schedules) != len(seconds):
            raise ScheduleError(f"{len(schedules)} schedules do not go with {len(seconds)} latencies")
        if not all(math.isfinite(value) and value > 0.0 for value in seconds):
            raise ConfigError(f"latencies must be positive numbers of seconds, not {list(seconds)}")
        if len({schedule.shape for schedule in schedules}) != 1:
            raise ScheduleError("a latency table needs schedules of one shape (steps and blocks)")
        parts = list(executions(schedules[0]))
        # (schedules, 2 + components): the constant's column of ones, then the executions per image.
        design = np.array([[1.0, *executions(schedule).values()] for schedule in schedules])
        measured = np.array(seconds, dtype=np.float64)
        if len(schedules) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
            raise ScheduleError(
                f"{len(schedules)} measured schedules do not determine {design.shape[1]} latencies"
            )
        errors = []
        for index in range(len(measured)):
            rest = np.arange(len(measured)) != index
            solution = _relative_fit(design[rest], measured[rest])
            errors.append(abs(float(design[index] @ solution) / measured[index] - 1.0))
        solution = _relative_fit(design, measured)
        per_execution = dict(zip(parts, map(float, solution[1:]), strict=True))
        return cls(float(solution[0]), per_execution, float(np.mean(errors)), float(np.max(errors)))

    def predict(self, schedule: Schedule) -> float:
        """Seconds per image."""
        counts = executions(schedule)
        if set(counts) != set(self.seconds_per_execution):
            raise ScheduleError(f"the latency table is not for a schedule of family {schedule.family!r}")
        return self.constant_s + sum(
            count * self.seconds_per_execution[part] for part, count in counts.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a file."""
        return {
            "constant_s": self.constant_s,
            "seconds_per_execution": {
                "/".join(part): value for part, value in self.seconds_per_execution.items()
            },
            "error": {"mean": self.error_mean, "max": self.error_max},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LatencyTable:
        """Inverse of `to_dict`."""
        try:
            per_execution = {}
            for name, value in content["seconds_per_execution"].items():
                block_list, _, component = str(name).partition("/")
                per_execution[block_list, component] = float(value)
            # A table of before there was such a number counts that time in its constant.
            per_execution.setdefault(WHOLE_OUTPUT, 0.0)
            error = content["error"]
            table = cls(
                float(content["constant_s"]), per_execution, float(error["mean"]), float(error["max"])
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"not a latency table: {type(error).__name__} {error}") from None
        values = [table.constant_s, *per_execution.values(), table.error_mean, table.error_max]
        if not all(math.isfinite(value) and value >= 0.0 for value in values) or not any(values[:-2]):
            raise ConfigError("not a latency table: its numbers must be finite, none negative, not all zero")
        return table


def executions(schedule: Schedule) -> dict[Part, int]:
    """How often each component that a block has, and the transformer as a whole, runs for an image."""
    exists = Schedule.all_recompute(schedule.shape).recompute_counts()
    counts = {part: count for part, count in schedule.recompute_counts().items() if exists[part]}
    return {**counts, WHOLE_OUTPUT: schedule.transformer_runs}


def _every_second(shape: ScheduleShape) -> str:
    return ",".join(map(str, range(0, shape.steps, 2)))


def calibration_schedules(shape: ScheduleShape, rng: np.random.Generator) -> list[Schedule]:
    """Schedules whose latencies determine the table: the extremes, each component alone, random ones, fora:2.

    The extremes and the components alone give every unknown; the rest shows, left out, how well the table
    predicts the mixtures that a search proposes.
    """
    if shape.steps < 2:
        raise ScheduleError(
            "with a single step there is nothing to reuse: a latency table needs at least 2 steps"
        )
    schedules = [Schedule.all_recompute(shape), step_mask(shape, [0], name="mask:0")]
    for block_list in shape.spec.block_lists:
        for index, component in enumerate(block_list.component_names):
            if not shape.present[block_list.name][:, index].any():
                continue
            arrays = shape.filled(False)
            arrays[block_list.name][:, :, index] = True
            schedules.append(Schedule(shape.family, arrays, name=f"{block_list.name}/{component}"))
    schedules += [heuristic(f"{shape.holds}:{steps}", shape) for steps in ("0", _every_second(shape))]
    schedules += [
        heuristic(f"random:{share}:{int(rng.integers(2**31))}", shape) for share in (0.25, 0.5, 0.75)
    ]
    return [*schedules, heuristic("fora:2", shape)]


def _relative_fit(design: FloatArray, measured: FloatArray) -> FloatArray:
    """Non-negative unknowns, shape (columns,), that minimise the sum of (predicted / measured - 1) ** 2.

    `design` has the shape (measurements, columns), `measured` (measurements,).
    """
    from scipy.optimize import nnls  # in the extra `search`: only searches fit tables

    rows = design / measured[:, None]
    # Columns of length 1: the constant's ones and hundreds of executions then weigh alike in the tolerance.
    # A column without any execution has no effect and gets 0.
    lengths = np.linalg.norm(rows, axis=0)
    lengths[lengths == 0.0] = 1.0
    try:
        solution, _ = nnls(rows / lengths, np.ones(len(measured)), maxiter=100 * rows.shape[1])
    except RuntimeError as error:
        raise ConfigError(f"the latencies that were measured determine no table: {one_line(error)}") from None
    return np.asarray(solution / lengths)
