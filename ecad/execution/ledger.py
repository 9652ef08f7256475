"""Which units of work are to do and what becomes of them: retried, combined, or the end of a candidate.

A unit is one candidate with one batch of images: small, so that a lost worker costs seconds and candidates of
unequal cost balance out. Nothing here knows where units run.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ecad.execution.base import Outcome
from ecad.records import Candidate, Evaluation, Evaluator

# A unit that takes its worker with it so often is held to be the reason.
MOST_LOSSES = 3


@dataclass(frozen=True)
class Unit:
    """Score batch number `batch` of the candidate's images, made in `pieces` smaller batches."""

    candidate: Candidate
    batch: int
    pieces: int = 1


@dataclass
class _Open:
    candidate: Candidate
    scores: dict[int, Sequence[float]] = field(default_factory=dict)


class Ledger:
    """The units of a sequence of candidates; candidates are taken from it one at a time, when needed."""

    def __init__(self, candidates: Iterable[Candidate], evaluator: Evaluator) -> None:
        self._candidates = iter(candidates)
        self._evaluator = evaluator
        self._batches = evaluator.batches
        self._batch_size = evaluator.batch_size
        self._waiting: deque[Unit] = deque()
        self._open: dict[str, _Open] = {}
        self._finished: deque[Outcome] = deque()
        self._losses: Counter[tuple[str, int]] = Counter()

    def take(self) -> Unit | None:
        """The next unit to do; None if there is none at the moment."""
        while True:
            while self._waiting:
                unit = self._waiting.popleft()
                if unit.candidate.key in self._open:  # not failed in the meantime
                    return unit
            if not self.open_next():
                return None

    def open_next(self) -> bool:
        """Take the next candidate; False if there is none."""
        candidate = next(self._candidates, None)
        if candidate is None:
            return False
        self._open[candidate.key] = _Open(candidate)
        self._waiting.extend(Unit(candidate, batch) for batch in range(self._batches))
        return True

    @property
    def is_done(self) -> bool:
        """Whether all candidates taken so far are finished."""
        return not self._open

    def finished(self) -> Iterator[Outcome]:
        """What was finished since the last call."""
        while self._finished:
            yield self._finished.popleft()

    def done(self, unit: Unit, scores: Sequence[float]) -> None:
        entry = self._open.get(unit.candidate.key)
        if entry is None:
            return
        entry.scores[unit.batch] = scores
        if len(entry.scores) == self._batches:
            # By batch number, not by time: the order of floating-point sums is always the same.
            ordered = [entry.scores[batch] for batch in range(self._batches)]
            self._finish(unit.candidate, _checked(self._evaluator.combine(unit.candidate, ordered)))

    def out_of_memory(self, unit: Unit, reason: str) -> None:
        """Try again in batches of half the size, down to single images. Last bits of scores may then differ."""
        if unit.pieces >= self._batch_size:
            self.failed(unit, reason)
        else:
            self._waiting.appendleft(replace(unit, pieces=min(2 * unit.pieces, self._batch_size)))

    def lost(self, unit: Unit, reason: str) -> None:
        """The unit's worker has gone: the unit is done again, before all others."""
        self._losses[unit.candidate.key, unit.batch] += 1
        if self._losses[unit.candidate.key, unit.batch] >= MOST_LOSSES:
            self.failed(unit, f"{MOST_LOSSES} workers were lost with it, the last: {reason}")
        else:
            self._waiting.appendleft(unit)

    def failed(self, unit: Unit, reason: str) -> None:
        """The candidate cannot be evaluated."""
        if unit.candidate.key in self._open:
            self._finish(unit.candidate, Evaluation.failed(unit.candidate.key, reason))

    def _finish(self, candidate: Candidate, evaluation: Evaluation) -> None:
        del self._open[candidate.key]
        self._finished.append((candidate, evaluation))


def describe(error: BaseException) -> str:
    """An error in one line, for the log: the same text wherever it was raised."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _checked(evaluation: Evaluation) -> Evaluation:
    """A quality that is no number is a failure; what is known of the candidate is kept."""
    if evaluation.is_finite:
        return evaluation
    reason = f"cost {evaluation.cost:g}, quality {evaluation.quality:g}: not finite"
    return replace(evaluation, quality=math.nan, failure=reason)
