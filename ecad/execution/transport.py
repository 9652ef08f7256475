"""How a pool talks to its workers: requests one way, one event each the other way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ecad.execution.ledger import Unit
from ecad.records import BatchScores


@dataclass(frozen=True)
class Event:
    """What became of the newest request to a worker.

    ready: it has loaded the model, `text` is its place. done: `scores`. memory: the unit needs more memory
    than there is. failed: the unit raised. broken: the worker is of no more use. gone: the worker has died.
    wrong: it can never start (settings, version), and no other one can.
    """

    worker: int  # what Transport.start was given
    kind: Literal["ready", "done", "memory", "failed", "broken", "gone", "wrong"]
    scores: BatchScores = ()
    text: str = ""


class EventQueue(Protocol):
    """The reading end of a queue; raises queue.Empty."""

    def get(self, *, timeout: float) -> Event: ...

    def get_nowait(self) -> Event: ...


class Transport(Protocol):
    """Starts and stops workers, and carries units to them. `events` gets one event per start or submit."""

    @property
    def events(self) -> EventQueue: ...

    def wanted(self) -> int:
        """How many workers there should be now."""

    def start(self, worker: int) -> None: ...

    def submit(self, worker: int, unit: Unit) -> None: ...

    def stop(self, worker: int) -> None:
        """End a worker at once, whatever it does. Its events may still arrive."""
