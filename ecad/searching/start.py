"""Schedules that a search starts from, beside its seeds: the fronts of earlier runs, or files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ecad.errors import ConfigError, RunError
from ecad.genetic.front import nondominated, spread_out
from ecad.schedule import HOLDS_DENOISED, Schedule, ScheduleShape, load_schedule
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import RunFolder

START_FOLDER = "start"

_LOGGER = logging.getLogger(__name__)


def start_schedules(
    folder: RunFolder,
    settings: ResolvedSearchSettings,
    shape: ScheduleShape,
    announce: Callable[[str], None] = lambda line: None,
) -> list[Schedule]:
    """Those that the settings name; on a later start of the run, the copies that it has kept.

    Genomes do not say what is held where the whole output is reused: all schedules of a search hold the same. At most
    half of the first generation is of them. If there are more, as of several fronts, the best remain (`_best`), by what
    their searches saw; `announce` is told.

    ConfigError if one does not fit the model, or if there are too many whose searches did not see the same.
    """
    if settings.start_from is None:
        return []
    kept = folder.path / START_FOLDER
    if not folder.log.is_empty:
        if not kept.is_dir():
            raise RunError(f"run folder {folder.path} has evaluations but its {START_FOLDER}/ is lost")
        return [load_schedule(path) for path in sorted(kept.glob("*.yaml"))]
    found: list[Schedule] = []
    changed = 0
    for text in settings.start_from.split(","):
        for schedule in _read(text.strip()):
            if schedule.shape != shape:
                raise ConfigError(
                    f"--start-from {text.strip()}: {schedule.name!r} is for {schedule.shape.describe()}, the model has "
                    f"{shape.describe()}"
                )
            held = schedule.replace(holds=shape.holds)
            changed += held != schedule
            if held not in found:
                found.append(held)
    if changed:
        _LOGGER.warning(
            "%d schedules of --start-from go on as ones that hold the %s, as all of this search do, and not the %s",
            changed,
            *(("clean sample", "output") if shape.holds == HOLDS_DENOISED else ("output", "clean sample")),
        )
    most = settings.population // 2
    if len(found) <= most:
        return found
    best = _best(found, most, settings)
    announce(f"of the {len(found)} schedules of --start-from the best {most} go on, half of the population")
    return best


def keep_start(folder: RunFolder, schedules: list[Schedule]) -> None:
    """Write them into the run folder, for later starts."""
    if schedules and folder.log.is_empty:
        numbered = {f"{number:03d}": schedule for number, schedule in enumerate(schedules, start=1)}
        folder.write_schedules(START_FOLDER, numbered)


def _read(text: str) -> list[Schedule]:
    path = Path(text).expanduser()
    if not path.is_dir():
        return [load_schedule(text)]
    files = sorted((path / "front").glob("*.yaml")) or sorted(path.glob("*.yaml"))
    if not files:
        raise ConfigError(f"--start-from {text}: the folder has no schedules, nor a front")
    return [load_schedule(file) for file in files]


def _best(schedules: Sequence[Schedule], most: int, settings: ResolvedSearchSettings) -> list[Schedule]:
    """The `most` best, by what their searches saw, dearest first: first their common front, spread over its costs, then
    those that are least below it."""
    seen = [_seen(schedule, settings.quality) for schedule in schedules]
    known = [each for each in seen if each is not None]
    if len(known) < len(seen) or len({each.on for each in known}) > 1:
        raise ConfigError(
            f"--start-from names {len(schedules)} schedules, which must be no more than half of the population "
            f"({settings.population}): give a larger --population, or only fronts of searches that saw the "
            f"{settings.quality} of equally many images of the same prompts; of them the best are taken"
        )
    costs, qualities = [each.cost for each in known], [each.quality for each in known]
    front = nondominated(costs, qualities)

    def below_front(index: int) -> float:
        better: float = max(qualities[each] for each in front if costs[each] <= costs[index])
        return better - qualities[index]

    others = sorted(set(range(len(schedules))) - set(front), key=below_front)
    chosen = [*spread_out(front, costs, qualities), *others][:most]
    return [schedules[index] for index in sorted(chosen, key=lambda index: -costs[index])]


class _Seen(NamedTuple):
    """What a search saw of a schedule of its front, and on which images."""

    cost: float
    quality: float
    on: tuple[object, ...]


def _seen(schedule: Schedule, quality: str) -> _Seen | None:
    search = schedule.provenance.get("search")
    if not isinstance(search, Mapping):
        return None
    cost, value = search.get("relative_cost"), search.get(quality)
    if not isinstance(cost, float | int) or not isinstance(value, float | int):
        return None
    return _Seen(cost, value, tuple(str(search.get(key)) for key in ("cost", "prompts", "images")))
