"""Plain records that the layers hand to each other: a candidate, its evaluation, and who evaluates."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    `failure` says why there is no quality: such a candidate is infeasible, and the search goes on.
    """

    key: str
    cost: float
    quality: float
    scores: tuple[float, ...]
    macs: int
    latency_s: float | None = None
    failure: str | None = None

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.cost) and math.isfinite(self.quality)

    @property
    def was_scored(self) -> bool:
        """Whether images were made and scored, be it with numbers that are not finite."""
        return self.failure is None or bool(self.scores)

    @classmethod
    def failed(cls, key: str, reason: str) -> Evaluation:
        """The evaluation of a candidate that could not be evaluated."""
        return cls(key, math.nan, math.nan, (), 0, None, reason)


# For each schedule the scores of a batch's images.
BatchScores = tuple[tuple[float, ...], ...]


class Evaluator(Protocol):
    """Evaluates a candidate batch by batch, so that its batches may be scored by different processes.

    The split into batches is part of the result: all executors use the same one.
    """

    @property
    def batches(self) -> int:
        """Number of batches of images that make one evaluation."""

    @property
    def batch_size(self) -> int:
        """Images in a batch; the last one may have fewer."""

    def score_batch(self, schedules: Sequence[Schedule], batch: int, pieces: int = 1) -> BatchScores:
        """For each schedule the score of every image of batch number `batch`, from 0, made in `pieces` smaller ones.

        The scores of a schedule do not depend on the others; first steps that neighbours share are computed once.
        Raises TransientEvaluationError if the memory does not suffice: then more pieces may do; and
        BrokenWorkerError if this process cannot evaluate anything any more.
        """

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        """The evaluation made of the scores of all batches, in their order."""
