"""Latency: measured fairly, and predicted from a small table fitted to measurements.

Nothing here knows how images are made: what is timed are functions without arguments.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecad.errors import ConfigError, ScheduleError
from ecad.schedule.heuristics import heuristic, step_mask
from ecad.schedule.schedule import Schedule, ScheduleShape

Part = tuple[str, str]  # block list, component
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LatencyMeasurement:
    """Seconds per image of every repeat, in the order in which they were measured."""

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median seconds per image: one disturbed repeat does not move it."""
        return float(np.median(self.samples_s))

    @property
    def spread(self) -> float:
        """(largest - smallest) / median, a ratio: 0.1 says that the repeats lie within 10 % of each other."""
        return (max(self.samples_s) - min(self.samples_s)) / self.median_s


def measure_latency(
    run: Callable[[], object],
    *,
    repeats: int,
    warmup: int,
    images: int,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyMeasurement:
    """Time one run of `images` images; see `measure_interleaved`, which is the fair way to compare several."""
    return measure_interleaved(
        {"": run}, repeats=repeats, warmup=warmup, images=images, synchronize=synchronize, clock=clock
    )[""]


def measure_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    images: int,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, LatencyMeasurement]:
    """Time several runs of `images` images each, in turn, so that the machine's noise hits all alike.

    Every run is made `warmup` times without and then `repeats` times with taking its time, in seconds of
    `clock`. A run must have finished its work when it returns (an image on the CPU is enough on a GPU), or
    `synchronize` must wait for it, for example `torch.cuda.synchronize`; it is called before both clock readings.
    """
    if not runs or repeats < 1 or warmup < 0 or images < 1:
        raise ConfigError(
            "timing needs at least 1 run, 1 repeat, 1 image and no negative number of warm-ups, "
            f"not {len(runs)}, {repeats}, {images} and {warmup}"
        )
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(warmup + repeats):
        for name, run in runs.items():
            if synchronize is not None:
                synchronize()
            start = clock()
            run()
            if synchronize is not None:
                synchronize()
            seconds = clock() - start
            if repeat >= warmup:
                samples[name].append(seconds / images)
    return {name: LatencyMeasurement(tuple(values)) for name, values in samples.items()}


@dataclass(frozen=True)
class LatencyTable:
    """Seconds per image = constant + the sum over components of executions x seconds per execution.

    All blocks of a list are equal, so one number per (block list, component) is enough. The constant holds all
    that no schedule saves: norms and gates, embedders, the VAE. It fits one number of steps, one resolution and
    one batch size. `error_mean` and `error_max` are the mean and the largest relative error (absolute values)
    of predicting each measured schedule by a fit to all the others (leave-one-out).
    The largest is usually that of an extreme such as "step 0 only", which the others only extrapolate to: it is
    pessimistic for the mixtures that a search proposes.
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
        parts = list(schedules[0].recompute_counts())
        # (schedules, 1 + components): the constant's column of ones, then the executions per image.
        design = np.array([[1.0, *schedule.recompute_counts().values()] for schedule in schedules])
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
        counts = schedule.recompute_counts()
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
            arrays = shape.filled(False)
            arrays[block_list.name][:, :, index] = True
            schedules.append(Schedule(shape.family, arrays, name=f"{block_list.name}/{component}"))
    schedules += [
        heuristic(f"random:{share}:{int(rng.integers(2**31))}", shape) for share in (0.25, 0.5, 0.75)
    ]
    return [*schedules, heuristic("fora:2", shape)]


def _relative_fit(design: FloatArray, measured: FloatArray) -> FloatArray:
    """Non-negative unknowns, shape (columns,), that minimise the sum of (predicted / measured - 1) ** 2.

    `design` has the shape (measurements, columns), `measured` (measurements,).
    """
    rows = design / measured[:, None]
    # Columns of length 1: the constant's ones and hundreds of executions then weigh alike in the tolerance.
    # A column without any execution has no effect and gets 0.
    lengths = np.linalg.norm(rows, axis=0)
    lengths[lengths == 0.0] = 1.0
    return nonnegative_least_squares(rows / lengths, np.ones(len(measured))) / lengths


def nonnegative_least_squares(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """The x >= 0 that minimises |matrix @ x - target|, shapes (columns,), (rows, columns) and (rows,).

    The active-set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23): unknowns
    leave zero one by one, the one whose gradient promises most first; whenever the least squares of the free
    ones has a negative unknown, walk towards it only until the first free unknown reaches zero, and fix that.
    """
    columns = matrix.shape[1]
    solution = np.zeros(columns)
    free = np.zeros(columns, dtype=np.bool_)
    tolerance = 1e-12 * max(1.0, float(np.abs(matrix.T @ target).max(initial=0.0)))
    # Each round lowers the distance, so no set of free unknowns comes twice; the bound stops rounding errors.
    for _ in range(10 * columns):
        gradient = np.where(free, -np.inf, matrix.T @ (target - matrix @ solution))
        if free.all() or gradient.max() <= tolerance:
            break
        free[int(np.argmax(gradient))] = True
        while True:
            fitted = np.zeros(columns)
            fitted[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            blocked = free & (fitted <= 0.0)
            if not blocked.any():
                solution = fitted
                break
            walk = solution[blocked] - fitted[blocked]  # 0 only where both are 0: no step at all
            steps = np.divide(solution[blocked], walk, out=np.zeros(len(walk)), where=walk > 0.0)
            solution = solution + float(steps.min()) * (fitted - solution)
            free[np.flatnonzero(blocked)[steps == steps.min()]] = False
            solution[~free] = 0.0
    return solution
