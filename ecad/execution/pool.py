"""Evaluation spread over workers that may be slow, hang, or vanish at any moment.

`WorkerPool` decides; a `Transport` starts workers, gives them units and puts what they say into a queue (Ray:
`ecad.execution.on_ray`). One unit per worker is in flight: a unit takes seconds and an assignment a
millisecond, so a longer queue would only strand units behind a slow worker.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ecad.errors import RunError
from ecad.execution.base import Outcome
from ecad.execution.ledger import Ledger, Unit
from ecad.execution.transport import Event, Transport
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluator

# A worker that cannot be started so often in a row is given up.
MOST_FAILED_STARTS = 3
_TICK_S = 1.0
_UNITS_PER_WORKER = 3


@dataclass(eq=False)
class _Slot:
    """One place for a worker: the worker changes when it is lost."""

    number: int
    worker: int = -1
    state: Literal["starting", "idle", "busy", "given up"] = "starting"
    place: str = ""
    unit: Unit | None = None
    ledger: Ledger | None = None
    since_s: float = 0.0  # when the unit was given to it
    ready_s: float = 0.0
    busy_s: float = 0.0
    images: int = 0
    restarts: int = 0
    failed_starts: int = 0


class WorkerPool:
    """An executor. Workers are started at once and used as they become ready.

    `unit_timeout_s` limits a unit's time per candidate, after which its worker counts as hung; `start_timeout_s`
    the time without a single worker at work. `on_tick` is called about once a second while waiting. At most
    `together` candidates that share their first steps make a unit, fewer where workers would have nothing to do.
    """

    def __init__(
        self,
        transport: Transport,
        evaluator: Evaluator,
        *,
        unit_timeout_s: float,
        start_timeout_s: float = 1800.0,
        tick_s: float = _TICK_S,
        together: int = 1,
        on_tick: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._evaluator = evaluator
        self._unit_timeout_s = unit_timeout_s
        self._start_timeout_s = start_timeout_s
        self._tick_s = tick_s
        self._together = together
        self._on_tick = on_tick
        self._clock = clock
        self._slots: list[_Slot] = []
        self._by_worker: dict[int, _Slot] = {}
        self._idle: deque[_Slot] = deque()
        self._next_worker = 0
        self._last_tick_s = self._last_alive_s = clock()
        self._was_ever_ready = False
        self._last_reason = "none was ready in time"
        self._grow()

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        ledger = Ledger(candidates, self._evaluator, self._group_size(candidates))
        self._last_alive_s = self._clock()
        while True:
            self._assign(ledger)
            yield from ledger.finished()
            # A result that was just yielded may have made a generator give new candidates.
            if ledger.is_done and not ledger.open_next():
                return
            self._assign(ledger)
            self._wait()

    @property
    def workers(self) -> Sequence[WorkerReport]:
        return [self._report(slot) for slot in self._slots]

    def _group_size(self, candidates: Iterable[Candidate]) -> int:
        """So that there are a few units for each worker: otherwise all wait for the last one."""
        if not isinstance(candidates, Sequence):
            return 1
        batches = len(candidates) * self._evaluator.batches
        return max(1, min(self._together, batches // (_UNITS_PER_WORKER * max(1, len(self._slots)))))

    def _assign(self, ledger: Ledger) -> None:
        while self._idle:
            unit = ledger.take()
            if unit is None:
                return
            slot = self._idle.popleft()
            slot.state, slot.unit, slot.ledger, slot.since_s = "busy", unit, ledger, self._clock()
            self._transport.submit(slot.worker, unit)

    def _wait(self) -> None:
        """Wait for the next event, at most until the next tick, and handle all that are there."""
        until_tick_s = max(0.0, self._last_tick_s + self._tick_s - self._clock())
        try:
            self._handle(self._transport.events.get(timeout=until_tick_s))
            while True:
                self._handle(self._transport.events.get_nowait())
        except queue.Empty:
            pass
        if self._clock() - self._last_tick_s >= self._tick_s:
            self._last_tick_s = self._clock()
            self._tick()

    def _handle(self, event: Event) -> None:
        slot = self._by_worker.get(event.worker)
        if slot is None:
            return  # of a worker that was stopped
        now_s = self._clock()
        self._last_alive_s = now_s
        if event.kind == "wrong":
            raise RunError(f"the workers cannot start: {event.text}")
        if event.kind == "ready":
            self._was_ever_ready = True
            slot.place, slot.ready_s, slot.failed_starts = event.text, now_s, 0
            slot.busy_s, slot.images = 0.0, 0
            self._rest(slot)
            return
        unit, ledger = slot.unit, slot.ledger
        slot.unit = slot.ledger = None
        if event.kind in ("gone", "broken"):
            self._replace(slot, event.text)
            if unit is not None and ledger is not None:
                ledger.lost(unit, event.text)
            return
        slot.busy_s += now_s - slot.since_s
        slot.images += sum(map(len, event.scores))
        self._rest(slot)
        if unit is None or ledger is None:
            return
        if event.kind == "done":
            ledger.done(unit, event.scores)
        elif event.kind == "memory":
            if len(unit.candidates) > 1:
                self._together = 1  # for the generations to come
            ledger.out_of_memory(unit, event.text)
        else:
            ledger.failed(unit, event.text)

    def _rest(self, slot: _Slot) -> None:
        slot.state = "idle"
        self._idle.append(slot)

    def _tick(self) -> None:
        """Once a second: hung workers, new places for workers, no workers at all."""
        now_s = self._clock()
        for slot in self._slots:
            limit_s = self._unit_timeout_s * (1 if slot.unit is None else len(slot.unit.candidates))
            if slot.state == "busy" and now_s - slot.since_s > limit_s:
                unit, ledger = slot.unit, slot.ledger
                slot.unit = slot.ledger = None
                reason = f"no answer within {limit_s:g} s (--unit-timeout)"
                self._transport.stop(slot.worker)
                self._replace(slot, reason)
                if unit is not None and ledger is not None:
                    ledger.lost(unit, reason)
        self._grow()
        if any(slot.state in ("busy", "idle") for slot in self._slots):
            self._last_alive_s = now_s
        elif self._slots and all(slot.state == "given up" for slot in self._slots):
            raise RunError(
                f"no worker can be started: {self._last_reason}; all evaluations so far are in the log"
            )
        elif now_s - self._last_alive_s > self._start_timeout_s:
            raise RunError(
                f"no worker for {self._start_timeout_s:g} s ({self._last_reason}): are the GPUs and CPUs that "
                "each worker asks for there and free? All evaluations so far are in the log"
            )
        self._on_tick()

    def _grow(self) -> None:
        for number in range(len(self._slots) + 1, self._transport.wanted() + 1):
            slot = _Slot(number)
            self._slots.append(slot)
            self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.worker, slot.state, slot.place = self._next_worker, "starting", ""
        self._next_worker += 1
        self._by_worker[slot.worker] = slot
        self._transport.start(slot.worker)

    def _replace(self, slot: _Slot, reason: str) -> None:
        self._last_reason = reason
        was_starting = slot.state == "starting"
        del self._by_worker[slot.worker]
        if slot in self._idle:
            self._idle.remove(slot)
        slot.failed_starts += was_starting
        if slot.failed_starts >= MOST_FAILED_STARTS:
            slot.state = "given up"
            return
        slot.restarts += 1
        self._start(slot)

    def _report(self, slot: _Slot) -> WorkerReport:
        alive_s = self._clock() - slot.ready_s if slot.place else 0.0
        busy_s = slot.busy_s + (self._clock() - slot.since_s if slot.state == "busy" else 0.0)
        return WorkerReport(
            str(slot.number),
            slot.state,
            slot.place,
            slot.images,
            slot.images / alive_s if alive_s > 0.0 else 0.0,
            min(1.0, busy_s / alive_s) if alive_s > 0.0 else 0.0,
            slot.restarts,
        )
