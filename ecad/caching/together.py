"""One schedule at work on several transformers that take turns in one call (Wan 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecad.caching.applied import AppliedSchedule
from ecad.schedule.schedule import Schedule


class AppliedTogether(AppliedSchedule):
    """What is applied to each, as one."""

    def __init__(self, parts: Sequence[AppliedSchedule]) -> None:
        self._parts = tuple(parts)
        for part in self._parts:
            part.join([other for other in self._parts if other is not part])

    @property
    def schedule(self) -> Schedule:
        return self._parts[0].schedule

    @property
    def recomputed(self) -> int:
        return sum(part.recomputed for part in self._parts)

    @property
    def reused(self) -> int:
        return sum(part.reused for part in self._parts)

    @property
    def stored_outputs(self) -> int:
        return sum(part.stored_outputs for part in self._parts)

    def reset(self) -> None:
        for part in self._parts:
            part.reset()

    def keep_everything(self, keep: bool) -> None:
        for part in self._parts:
            part.keep_everything(keep)

    def snapshot(self) -> Any:
        return tuple(part.snapshot() for part in self._parts)

    def restore(self, snapshot: Any) -> None:
        for part, saved in zip(self._parts, snapshot, strict=True):
            part.restore(saved)

    def install(self) -> None:
        try:
            for part in self._parts:
                part.install()
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        for part in self._parts:
            part.remove()
