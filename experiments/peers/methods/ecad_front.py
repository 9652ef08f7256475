"""ecad's fronts: the schedules that come with it, or those of a run folder."""

from __future__ import annotations

from bench import Bench
from peer import Setting

from ecad.resources import list_schedules
from methods.schedules import rows

NAME = "ecad front"
_SPEEDS = ("fast", "faster", "fastest")


def settings(bench: Bench, front: str | None) -> list[Setting]:
    if front is not None:
        return rows(bench, [front])
    found = [name for name in list_schedules() if name.startswith(f"{bench.model}/")]
    learned = [name for name in found if name.split("/")[1].startswith((*_SPEEDS, "front-"))]
    return rows(bench, sorted(learned, key=lambda name: (name.split("/")[1] not in _SPEEDS, name)))
