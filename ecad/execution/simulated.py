"""Workers in virtual time: how a pool behaves with hundreds of unequal workers, computed in seconds.

For planning (experiments/cluster) and for tests that must not depend on the machine's speed.
"""

from __future__ import annotations

import heapq
import queue
from collections.abc import Callable, Sequence

from ecad.execution.ledger import Unit
from ecad.execution.transport import Event
from ecad.records import Evaluator


class SimulatedTransport:
    """A transport whose worker number i, from 0, takes `seconds(i, unit)` of virtual time for a unit.

    The scores are the evaluator's, computed at once. `now_s` is the pool's clock. `done` lists (worker, start,
    end) of every unit.
    """

    def __init__(self, evaluator: Evaluator, workers: int, seconds: Callable[[int, Unit], float]) -> None:
        self.events = _VirtualQueue(self)
        self.now_s = 0.0
        self.done: list[tuple[int, float, float]] = []
        self._evaluator = evaluator
        self._workers = workers
        self._seconds = seconds
        self._coming: list[tuple[float, int, Event]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now_s

    def utilisation(self) -> float:
        """Share of all workers' virtual time, up to the last result, that was spent on units."""
        end_s = max((end for _, _, end in self.done), default=0.0)
        return sum(end - start for _, start, end in self.done) / (end_s * self._workers) if end_s else 0.0

    def wanted(self) -> int:
        return self._workers

    def start(self, worker: int) -> None:
        self._schedule(0.0, Event(worker, "ready", text=f"simulated:{worker}"))

    def submit(self, worker: int, unit: Unit) -> None:
        scores = self._evaluator.score_batch(unit.schedules, unit.batch, unit.pieces)
        duration_s = self._seconds(worker, unit)
        self.done.append((worker, self.now_s, self.now_s + duration_s))
        self._schedule(duration_s, Event(worker, "done", scores=scores))

    def stop(self, worker: int) -> None:
        self._coming = [entry for entry in self._coming if entry[2].worker != worker]
        heapq.heapify(self._coming)

    def next_event(self, timeout_s: float) -> Event:
        """The next event, the clock moved to it; queue.Empty, and `timeout_s` later, if none is due by then."""
        if not self._coming or self._coming[0][0] > self.now_s + timeout_s:
            self.now_s += timeout_s
            raise queue.Empty
        at_s, _, event = heapq.heappop(self._coming)
        self.now_s = max(self.now_s, at_s)
        return event

    def _schedule(self, delay_s: float, event: Event) -> None:
        self._count += 1  # events of the same time come in the order in which they were made
        heapq.heappush(self._coming, (self.now_s + delay_s, self._count, event))


class _VirtualQueue:
    def __init__(self, transport: SimulatedTransport) -> None:
        self._transport = transport

    def get(self, *, timeout: float) -> Event:
        return self._transport.next_event(timeout)

    def get_nowait(self) -> Event:
        return self._transport.next_event(0.0)


def unequal(speeds: Sequence[float], unit_s: float) -> Callable[[int, Unit], float]:
    """Workers of these relative speeds; a unit takes `unit_s` times the share that its schedule recomputes."""

    def seconds(worker: int, unit: Unit) -> float:
        work = sum(schedule.recompute_fraction() for schedule in unit.schedules)
        return unit_s * work / speeds[worker % len(speeds)]

    return seconds
