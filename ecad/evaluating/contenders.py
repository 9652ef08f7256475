"""From what the user types after `ecad evaluate` to the rows of its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ecad.errors import ConfigError, ScheduleError
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.resources import list_schedules
from ecad.schedule import Calibration, Schedule, ScheduleShape, heuristic, is_heuristic, load_schedule
from ecad.schedule.files.addresses import address_stem, is_address
from ecad.schedule.heuristics import needs_calibration
from ecad.storage import RunFolder

_STEPS = "steps"  # of `steps:12`
_MAX_STEPS = 1000


@dataclass(frozen=True)
class Wish:
    """One row that the user asks for, before the model is known.

    `name` is short; `long_name` takes its place where two rows would have the same. A heuristic has neither a
    schedule nor steps yet, a row with another number of steps has no schedule (and is "more steps" if it has more);
    one at some of the uncached model's noise levels has their step numbers.
    """

    name: str
    long_name: str
    kind: Kind
    schedule: Schedule | None = None
    steps: int | None = None
    levels: tuple[int, ...] | None = None


def read_wishes(given: Sequence[str | Schedule]) -> list[Wish]:
    """Files, folders, run folders' fronts, bundled names, heuristics, `steps:N` and schedules themselves; reads files,
    loads no model."""
    return [wish for each in given for wish in ([_of(each)] if isinstance(each, Schedule) else _read(each))]


def schedule_steps(wishes: Sequence[Wish]) -> int | None:
    """The number of steps of all schedule files, if it is the same for all of them."""
    steps = {wish.schedule.steps for wish in wishes if wish.schedule is not None}
    return steps.pop() if len(steps) == 1 else None


def need_calibration(wishes: Sequence[Wish]) -> bool:
    """Whether one of them is smooth:ALPHA."""
    return any(wish.kind is Kind.HEURISTIC and needs_calibration(wish.name) for wish in wishes)


def contenders_for(
    wishes: Sequence[Wish], shape: ScheduleShape, calibration: Calibration | None = None
) -> list[Contender]:
    """The uncached model, then the wishes in order; each thing once, all names distinct.

    `shape` is the model's, at the uncached number of steps, which heuristics get too; a schedule file keeps its own.
    """
    result = [Contender("uncached", Kind.UNCACHED, shape.steps)]
    seen: set[tuple[int, str]] = {(shape.steps, str(None))}
    kept: list[tuple[Wish, Contender]] = []
    for wish in wishes:
        schedule, steps = wish.schedule, wish.steps
        if steps is None:
            schedule = heuristic(wish.name, shape, calibration) if schedule is None else schedule
            steps = schedule.steps
        if schedule is not None and (
            schedule.family != shape.family or dict(schedule.shape.blocks) != dict(shape.blocks)
        ):
            raise ScheduleError(
                f"{wish.long_name} does not fit the model: it is for {schedule.shape.describe()}, the model has "
                f"{shape.describe()}"
            )
        levels = wish.levels
        if levels is not None and levels[-1] >= shape.steps:
            raise ConfigError(f"{wish.name!r}: the uncached model's steps are 0 to {shape.steps - 1}")
        if levels == tuple(range(shape.steps)):
            levels = None
        identity = (steps, str(levels) if schedule is None else schedule.digest())
        if identity in seen:
            continue
        seen.add(identity)
        kind = wish.kind
        if kind is Kind.FEWER_STEPS and steps >= shape.steps:
            kind = Kind.MORE_STEPS
        kept.append((wish, Contender(wish.name, kind, steps, schedule, levels=levels)))
    names = [contender.name for _, contender in kept] + ["uncached"]
    for wish, contender in kept:
        name = contender.name if names.count(contender.name) == 1 else wish.long_name
        result.append(replace(contender, name=name))
    return distinct(result)


def distinct(contenders: Sequence[Contender]) -> list[Contender]:
    """The same rows; ConfigError if two of them have the same name."""
    names = [contender.name for contender in contenders]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two rows would be called {name!r}: rename one of the files, or give a baseline a name"
            )
    return list(contenders)


def _of(schedule: Schedule) -> Wish:
    digest = schedule.digest()[:8]
    name = schedule.name or digest
    return Wish(name, f"{name} ({digest})", Kind.SCHEDULE, schedule)


def _read(text: str) -> Iterator[Wish]:
    if is_address(text):
        yield Wish(address_stem(text), text, Kind.SCHEDULE, load_schedule(text))
        return
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # name too long; no such user (~name)
        raise ConfigError(f"cannot read the schedule {text[:100]!r}: {error}") from None
    if is_folder:
        yield from _read_folder(path)
    elif is_file:
        yield Wish(path.stem, path.as_posix(), Kind.SCHEDULE, load_schedule(path))
    elif text.partition(":")[0] == _STEPS:
        levels = _levels(text)
        count = _step_count(text) if levels is None else len(levels)
        yield Wish(text, text, Kind.FEWER_STEPS, steps=count, levels=levels)
    elif is_heuristic(text):
        yield Wish(text, text, Kind.HEURISTIC)
    elif (names := _bundled_below(text)) and text not in list_schedules():
        for name in names:
            yield Wish(name, name, Kind.SCHEDULE, load_schedule(name))
    else:
        yield Wish(text, text, Kind.SCHEDULE, load_schedule(text))


def _read_folder(path: Path) -> Iterator[Wish]:
    is_run = (path / "front").is_dir()
    if is_run:
        folder = RunFolder.existing(path)
        folder.read_config()
        schedules = folder.read_front()
    else:
        schedules = {file.stem: load_schedule(file) for file in sorted(path.glob("*.yaml"))}
    if not schedules:
        what = "the front of this run is empty" if is_run else "it holds no schedule files (*.yaml)"
        if (path / "evaluations.jsonl").is_file() and not is_run:
            what = f"this run has no front yet: let it finish with ecad search --resume {path}"
        raise ConfigError(f"nothing to evaluate in {path}: {what}")
    for stem, schedule in schedules.items():
        yield Wish(stem, f"{path.as_posix()}/{stem}", Kind.FRONT if is_run else Kind.SCHEDULE, schedule)


def _bundled_below(text: str) -> list[str]:
    """All bundled schedules of a model, for its name."""
    return [name for name in list_schedules() if name.startswith(text.rstrip("/") + "/")]


def _levels(text: str) -> tuple[int, ...] | None:
    """The step numbers of `steps:0,2,6`; None for a number of steps."""
    parts = text.partition(":")[2].split(",")
    if len(parts) == 1:
        return None
    levels = tuple(int(part) if part.strip().isdecimal() else -1 for part in parts)
    if levels[0] != 0 or any(one >= other for one, other in pairwise(levels)):
        raise ConfigError(
            f"{text!r}: the steps whose noise levels are used must be increasing whole numbers, 0 first, for example "
            "steps:0,2,6,12"
        )
    return levels


def _step_count(text: str) -> int:
    argument = text.partition(":")[2]
    try:
        count = int(argument)
    except ValueError:
        count = 0
    if not 1 <= count <= _MAX_STEPS:
        raise ConfigError(
            f"{text!r}: the number of steps must be a whole number from 1 to {_MAX_STEPS}, for example steps:12"
        )
    return count
