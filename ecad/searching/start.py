"""Schedules that a search starts from, beside its seeds: the fronts of earlier runs, or files."""

from __future__ import annotations

import logging
from pathlib import Path

from ecad.errors import ConfigError, RunError
from ecad.schedule import HOLDS_DENOISED, Schedule, ScheduleShape, load_schedule
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import RunFolder

START_FOLDER = "start"

_LOGGER = logging.getLogger(__name__)


def start_schedules(
    folder: RunFolder, settings: ResolvedSearchSettings, shape: ScheduleShape
) -> list[Schedule]:
    """Those that the settings name; on a later start of the run, the copies that it has kept.

    Genomes do not say what is held where the whole output is reused: all schedules of a search hold the same.

    ConfigError if one does not fit the model, or if they would fill the first generation.
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
    if len(found) > settings.population // 2:
        raise ConfigError(
            f"--start-from names {len(found)} schedules, which must be no more than half of the population "
            f"({settings.population}): give a larger --population"
        )
    return found


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
