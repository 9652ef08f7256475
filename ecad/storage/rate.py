"""How fast something gets on, from how much of it was done when."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 60.0
# Less time between two results says nothing: results come in bursts, and those of an earlier start come at once.
_SHORTEST_S = 1.0


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
