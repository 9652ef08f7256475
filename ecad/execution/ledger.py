"""Which units of work are to do and what becomes of them: retried, combined, or the end of a candidate.

A unit is one batch of images of a few candidates that share their first steps: small, so that a lost worker costs
seconds and candidates of unequal cost balance out. Whatever goes wrong with several candidates, each is then done on
its own. Nothing here knows where units run.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ecad.execution.base import Outcome
from ecad.records import BatchScores, Candidate, Evaluation, Evaluator
from ecad.schedule import Schedule, group_by_prefix

# A unit that takes its worker with it so often is held to be the reason.
MOST_LOSSES = 3
# So many units of several candidates that went wrong end the sharing, whatever the reason.
MOST_TROUBLES = 3

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """Score batch number `batch` of each candidate's images, made in `pieces` smaller batches."""

    candidates: tuple[Candidate, ...]
    batch: int
    pieces: int = 1

    @property
    def schedules(self) -> list[Schedule]:
        return [candidate.schedule for candidate in self.candidates]

    @property
    def alone(self) -> list[Unit]:
        """The same work, one candidate at a time."""
        return [replace(self, candidates=(candidate,)) for candidate in self.candidates]


@dataclass
class _Open:
    candidate: Candidate
    scores: dict[int, Sequence[float]] = field(default_factory=dict)


class Ledger:
    """The units of some candidates.

    From a sequence, all of which is known, at most `together` candidates that share their first steps make a unit.
    From any other iterable candidates are taken one at a time, when needed.
    """

    def __init__(self, candidates: Iterable[Candidate], evaluator: Evaluator, together: int = 1) -> None:
        self._groups = _groups(candidates, together)
        self._evaluator = evaluator
        self._batches = evaluator.batches
        self._batch_size = evaluator.batch_size
        self._waiting: deque[Unit] = deque()
        self._open: dict[str, _Open] = {}
        self._finished: deque[Outcome] = deque()
        self._losses: Counter[tuple[str, int]] = Counter()
        self._troubles = 0

    def take(self) -> Unit | None:
        """The next unit to do; None if there is none at the moment."""
        while True:
            while self._waiting:
                unit = self._waiting.popleft()
                # Without those that failed in the meantime.
                still_open = tuple(each for each in unit.candidates if each.key in self._open)
                if still_open:
                    return replace(unit, candidates=still_open)
            if not self.open_next():
                return None

    def open_next(self) -> bool:
        """Take the next candidates; False if there are none."""
        group = next(self._groups, None)
        if group is None:
            return False
        self._open.update({candidate.key: _Open(candidate) for candidate in group})
        self._waiting.extend(Unit(group, batch) for batch in range(self._batches))
        return True

    @property
    def is_done(self) -> bool:
        """Whether all candidates taken so far are finished."""
        return not self._open

    def finished(self) -> Iterator[Outcome]:
        """What was finished since the last call."""
        while self._finished:
            yield self._finished.popleft()

    def done(self, unit: Unit, scores: BatchScores) -> None:
        for candidate, of_candidate in zip(unit.candidates, scores, strict=True):
            entry = self._open.get(candidate.key)
            if entry is None:
                continue
            entry.scores[unit.batch] = of_candidate
            if len(entry.scores) == self._batches:
                # By batch number, not by time: the order of floating-point sums is always the same.
                ordered = [entry.scores[batch] for batch in range(self._batches)]
                self._finish(candidate, _checked(self._evaluator.combine(candidate, ordered)))

    def out_of_memory(self, unit: Unit, reason: str) -> None:
        """Try again one by one, then in batches of half the size, down to single images.

        With smaller batches the last bits of scores may differ.
        """
        if len(unit.candidates) > 1:
            self._separate(unit, reason)
            self._share_no_more()  # what they share is what needs the memory: no other unit has more luck
        elif unit.pieces >= self._batch_size:
            self.failed(unit, reason)
        else:
            self._waiting.appendleft(replace(unit, pieces=min(2 * unit.pieces, self._batch_size)))

    def lost(self, unit: Unit, reason: str) -> None:
        """The unit's worker has gone: the unit is done again, before all others."""
        if self._separate(unit, reason):
            return
        [candidate] = unit.candidates
        self._losses[candidate.key, unit.batch] += 1
        if self._losses[candidate.key, unit.batch] >= MOST_LOSSES:
            self.failed(unit, f"{MOST_LOSSES} workers were lost with it, the last: {reason}")
        else:
            self._waiting.appendleft(unit)

    def failed(self, unit: Unit, reason: str) -> None:
        """The candidate cannot be evaluated; of several, it must first be found out which."""
        if self._separate(unit, reason):
            return
        [candidate] = unit.candidates
        if candidate.key in self._open:
            self._finish(candidate, Evaluation.failed(candidate.key, reason))

    def _separate(self, unit: Unit, reason: str) -> bool:
        """Have the candidates of a unit done one by one; False if it has only one."""
        if len(unit.candidates) == 1:
            return False
        _LOGGER.warning("%d candidates together: %s; now one by one", len(unit.candidates), reason)
        self._waiting.extendleft(reversed(unit.alone))
        self._troubles += 1
        if self._troubles == MOST_TROUBLES:
            self._share_no_more()
        return True

    def _share_no_more(self) -> None:
        self._waiting = deque(part for unit in self._waiting for part in unit.alone)
        self._groups = _one_by_one(self._groups)

    def _finish(self, candidate: Candidate, evaluation: Evaluation) -> None:
        del self._open[candidate.key]
        self._finished.append((candidate, evaluation))


def _groups(candidates: Iterable[Candidate], together: int) -> Iterator[tuple[Candidate, ...]]:
    if together > 1 and isinstance(candidates, Sequence):
        schedules = [candidate.schedule for candidate in candidates]
        # The costly ones first, so that in the end no worker waits long for another one's last.
        work = [schedule.recompute_fraction() for schedule in schedules]
        by_work = sorted(
            group_by_prefix(schedules, together), key=lambda group: -sum(work[index] for index in group)
        )
        for group in by_work:
            yield tuple(candidates[index] for index in group)
        return
    for candidate in candidates:
        yield (candidate,)


def _one_by_one(groups: Iterable[tuple[Candidate, ...]]) -> Iterator[tuple[Candidate, ...]]:
    for group in groups:
        for candidate in group:
            yield (candidate,)


def _checked(evaluation: Evaluation) -> Evaluation:
    """A quality that is no number is a failure; what is known of the candidate is kept."""
    if evaluation.is_finite:
        return evaluation
    reason = f"cost {evaluation.cost:g}, quality {evaluation.quality:g}: not finite"
    return replace(evaluation, quality=math.nan, failure=reason)
