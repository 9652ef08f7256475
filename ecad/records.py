"""Plain records that the layers hand to each other: a candidate, its evaluation, and who evaluates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ecad.schedule import Schedule


@dataclass(frozen=True)
class Candidate:
    """A schedule to be evaluated. `key` is the schedule's digest: equal schedules have equal keys."""

    key: str
    schedule: Schedule
    genome: str  # hex, see ecad.schedule.genome.genome_to_hex
    generation: int  # 1 is the initial population
    index: int  # position inside its generation


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one schedule at the run's model, prompts, seeds, steps, resolution and guidance.

    `cost` is relative to recomputing everything (1.0); `quality` is the mean of `scores`, higher is better;
    `scores` has one entry per image, prompts in order, seeds innermost. `macs` counts the multiply-accumulates
    of one image's denoising. `latency_s` is a predicted or measured number of seconds per image, or None.
    """

    key: str
    cost: float
    quality: float
    scores: tuple[float, ...]
    macs: int
    latency_s: float | None = None

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.cost) and math.isfinite(self.quality)


@dataclass(frozen=True)
class Progress:
    """What a display needs to know; sent after every evaluation and, while reporting, after every batch."""

    phase: str  # "search", then "selection" and "held-out"
    generation: int
    generations: int
    evaluated: int  # of this generation's candidates
    population: int
    evaluations: int  # in the log, earlier starts included
    points: list[tuple[float, float]]  # the front so far: (cost, quality), cheapest first
    hypervolume: float
    images: tuple[int, int] = (0, 0)  # held-out images: done, total
    images_per_evaluation: int = 1


class Evaluator(Protocol):
    """Turns one candidate into its evaluation. May raise TransientEvaluationError."""

    def evaluate(self, candidate: Candidate) -> Evaluation: ...
