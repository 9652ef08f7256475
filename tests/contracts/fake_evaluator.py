"""An evaluator without a model, whose faults are ordered by a candidate's index. Can be pickled to workers."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecad.errors import BrokenWorkerError, ModelError, TransientEvaluationError
from ecad.records import BatchScores, Candidate, Evaluation
from ecad.schedule import Schedule, ScheduleShape, from_genome, genome_length, genome_to_hex

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
IMAGES = 5  # in batches of 2, 2 and 1


def candidates(count: int, first: int = 0) -> list[Candidate]:
    """Distinct candidates, always the same."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(first + count):
        genome = rng.random(genome_length(SHAPE)) < 0.5
        schedule = from_genome(genome, SHAPE)
        made.append(Candidate(schedule.digest(), schedule, genome_to_hex(genome), 1, index))
    return made[first:]


def image_score(key: str, image: int) -> float:
    """A number whose sums depend on their order in the last bits."""
    return int(hashlib.sha256(f"{key}/{image}".encode()).hexdigest()[:12], 16) / 3.7e14


@dataclass(frozen=True)
class FakeFactory:
    """`faults`: schedule key -> what goes wrong with it; `folder`: where one-time faults and visits are noted."""

    folder: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self) -> FakeEvaluator:
        if self.faults.get("start") == "settings":
            raise ModelError("no such model: 'absent'")
        if self.faults.get("start") == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        return FakeEvaluator(self)


class FakeEvaluator:
    batches = 3
    batch_size = 2

    def __init__(self, factory: FakeFactory) -> None:
        self._factory = factory

    def score_batch(self, schedules: Sequence[Schedule], batch: int, pieces: int = 1) -> BatchScores:
        return tuple(self._score(schedule, batch, pieces, len(schedules)) for schedule in schedules)

    def _score(self, schedule: Schedule, batch: int, pieces: int, together: int) -> tuple[float, ...]:
        key = schedule.digest()
        time.sleep(self._factory.seconds)
        if self._factory.folder:
            with (Path(self._factory.folder) / "visits").open("a") as file:
                file.write(f"{key} {batch} {pieces} {together} {os.getpid()}\n")
        images = range(batch * 2, min(IMAGES, batch * 2 + 2))
        fault = self._factory.faults.get(key, "")
        if fault == "nan" and batch == 1:
            return tuple(float("nan") for _ in images)
        if fault == "minus infinity":
            return tuple(float("-inf") for _ in images)
        if fault and batch == 1:
            self._go_wrong(key, fault, pieces, together)
        return tuple(image_score(key, image) for image in images)

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        flat = [score for batch in scores for score in batch]
        total = 0.0
        for score in flat:
            total += score
        cost = candidate.schedule.recompute_fraction()
        return Evaluation(candidate.key, cost, total / len(flat), tuple(flat), round(cost * 1000))

    def _go_wrong(self, key: str, fault: str, pieces: int, together: int) -> None:
        if fault == "memory" and pieces < 2:
            raise TransientEvaluationError("out of memory with batches of 2 images")
        if fault == "memory together" and together > 1:
            raise TransientEvaluationError(f"out of memory with {together} together")
        if fault == "memory always":
            raise TransientEvaluationError(f"out of memory with {pieces} pieces")
        if fault == "error":
            raise ValueError("this schedule\ncannot be evaluated")
        name, _, how_often = fault.partition(" ")
        if name in ("die", "hang", "broken"):
            mark = Path(self._factory.folder) / f"{name}-{key}"
            if how_often == "once" and mark.exists():
                return
            mark.touch()
            if name == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "hang":
                time.sleep(600.0)
            raise BrokenWorkerError("CUDA error: device-side assert triggered")


def expected(each: Candidate) -> Evaluation:
    """What a sound evaluation of the candidate is."""
    evaluator = FakeFactory()()
    return evaluator.combine(each, [evaluator.score_batch([each.schedule], batch)[0] for batch in range(3)])
