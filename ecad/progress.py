"""How far a search is, and how fast it gets on: what a display and status.json show."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_WINDOW_S = 60.0
# Less time between two results says nothing: results come in bursts, and those of an earlier start come at once.
_SHORTEST_S = 1.0


@dataclass(frozen=True)
class WorkerReport:
    """What a display says about one worker. Rates count the time since the worker was ready."""

    name: str  # its number, from 1
    state: str  # "starting", "idle", "busy" or "given up"
    place: str  # host and process, "" before it is ready
    images: int
    images_per_second: float
    busy_share: float  # of the time since it was ready
    restarts: int  # how often it was lost, hung or broken, and replaced


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
    images: tuple[int, int] = (0, 0)  # of the selection or the held-out prompts: done, total
    images_per_evaluation: int = 1
    workers: Sequence[WorkerReport] = ()
    failures: int = 0  # candidates in the log that could not be evaluated
    ends_generation: bool = False

    @property
    def done(self) -> int:
        """Candidates of the search, or images of a later phase, that are done."""
        if self.phase != "search":
            return self.images[0]
        return (self.generation - 1) * self.population + self.evaluated

    @property
    def total(self) -> int:
        """Candidates of the whole search, or images of a later phase."""
        return self.images[1] if self.phase != "search" else self.generations * self.population


class RateWindow:
    """The rate over about the last minute, and at least since the last result before it."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def clear(self) -> None:
        self._points.clear()

    def add(self, now_s: float, done: int) -> None:
        """`done` is the number of things done until now."""
        self._points.append((now_s, done))
        while len(self._points) > 2 and now_s - self._points[1][0] > _WINDOW_S:
            self._points.popleft()

    @property
    def per_second(self) -> float:
        """0 as long as it is not known."""
        if len(self._points) < 2:
            return 0.0
        (start_s, start), (end_s, end) = self._points[0], self._points[-1]
        return (end - start) / (end_s - start_s) if end_s - start_s >= _SHORTEST_S else 0.0


class Rate:
    """How fast the current phase gets on, from one `Progress` after the other."""

    def __init__(self) -> None:
        self._window = RateWindow()
        self._last: Progress | None = None
        self.hypervolumes: list[float] = []  # after each generation that was seen to end

    def update(self, progress: Progress, now_s: float) -> None:
        if self._last is None or progress.phase != self._last.phase:
            self._window.clear()
        self._last = progress
        # Not `done`, which jumps where candidates are found in the log or are equal: those take no time.
        self._window.add(now_s, progress.evaluations if progress.phase == "search" else progress.done)
        if progress.phase == "search" and progress.evaluated == progress.population:
            self.hypervolumes.append(progress.hypervolume)

    @property
    def per_second(self) -> float:
        """Evaluations per second while searching, images per second in the later phases."""
        return self._window.per_second

    @property
    def images_per_second(self) -> float:
        if self._last is None or self._last.phase != "search":
            return self.per_second
        return self.per_second * self._last.images_per_evaluation

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the end of the phase; None as long as it is not known."""
        if self._last is None or self.per_second <= 0.0:
            return None
        return (self._last.total - self._last.done) / self.per_second
