"""Schedules as YAML files that people can read and diff: one line of 0 and 1 per step and component.

Files of the official ECAD implementation (JSON, `ecad.schedule.files.official`) are read too, and written on request.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecad.arrays import BoolArray
from ecad.atomic import write_bytes
from ecad.errors import ConfigError, EcadError, ScheduleError, one_line
from ecad.families import FAMILIES, BlockList, register
from ecad.families.registry import unknown_family
from ecad.families.spec_file import FAMILY_FILE, load_family
from ecad.resources import find_schedule, list_schedules
from ecad.schedule.files.addresses import fetch, is_address, is_collapsed_address
from ecad.schedule.files.official import dump_official, is_official, parse_official
from ecad.schedule.files.strangers import what_else
from ecad.schedule.files.yaml_text import dump_plain
from ecad.schedule.heuristics import is_heuristic
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS, HOLDS_DENOISED, HOLDS_OUTPUT, MAX_BLOCKS, MAX_STEPS
from ecad.yaml_nodes import Node, YamlMistake, parse_yaml, shown

FORMAT_VERSION = 1
MAX_FILE_BYTES = 2_000_000

_HEADER = """\
# ecad cache schedule: 1 recomputes, 0 reuses the newest stored output.
# One line per step, one digit per block, first block first.
"""
_OUTPUT = "output"  # the transformer's whole output, beside the block lists
_GOES_ON = {
    HOLDS_OUTPUT: "its last output is returned",
    HOLDS_DENOISED: "the solver goes on with the clean sample predicted last",
}
_ABSENT = "-"  # in the place of a digit where the block does not have the component
_REQUIRED = ("ecad_schedule", "model", "steps", "recompute")
_KEYS = ("ecad_schedule", "name", "model", "steps", "provenance", "holds", "recompute")
_SIGNATURE = ("family", "blocks")  # keys of `model` that say what the schedule fits


# --- reading ---


def load_schedule(source: str | os.PathLike[str]) -> Schedule:
    """Read a schedule file, or one that ships with ecad by its name ("pixart-mini/fast"). Existing files win.

    A file is YAML of ecad or JSON of the official ECAD implementation, whatever its name. If nobody has registered its
    family, a `family.yaml` beside it or one folder up (a run folder's) is, where it describes that. It may lie
    elsewhere: "hf://owner/name/fast.yaml" on a model hub ("hf://owner/name@v1/fast.yaml" at a revision), or anywhere at
    "https://host/fast.yaml#sha256=HEX", the hash of the content.
    """
    found = read_text(source)
    folder = None if found.path is None else found.path.absolute().parent
    return parse_schedule(found.text, found.origin, () if folder is None else (folder, folder.parent))


class FoundText(NamedTuple):
    """A schedule's text, not yet parsed, what to call its origin in a message, and its file if it is here."""

    text: str
    origin: str
    path: Path | None


def read_text(source: str | os.PathLike[str]) -> FoundText:
    """What lies at a path, a bundled name or an address."""
    path = None
    if isinstance(source, str) and is_address(source):
        content, origin = fetch(source, MAX_FILE_BYTES)
    else:
        path = _find(source)
        content, origin = _read_file(path), str(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ScheduleError(one_line(f"{origin}, line {line}: not UTF-8 text ({error.reason})")) from None
    return FoundText(text, origin, path)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ScheduleError(one_line(f"cannot read {path}: {error.strerror}")) from None
    if len(content) > MAX_FILE_BYTES:
        size = f"more than {MAX_FILE_BYTES / 1e6:g} MB"
        raise ScheduleError(one_line(f"{path} is too large for a schedule: it has {size}"))
    return content


def parse_schedule(text: str, origin: str, folders: Sequence[Path] = ()) -> Schedule:
    """The schedule in a text; every mistake is a ScheduleError that names `origin` and the line.

    ecad's own YAML or the official implementation's JSON, recognised by the content. A family that is not known is
    looked for in these folders, by the name of the file that run folders have.
    """
    something_else = what_else(text)
    if something_else is not None:
        raise ScheduleError(one_line(f"{origin} is {something_else}"))
    try:
        if is_official(text):
            return parse_official(text)
        return _schedule_from(parse_yaml(text), folders)
    except YamlMistake as mistake:
        raise ScheduleError(one_line(f"{origin}, {mistake}")) from None
    except EcadError as error:  # what the schedule itself refuses
        raise ScheduleError(one_line(f"{origin}: {error}")) from None


def _find(source: str | os.PathLike[str]) -> Path:
    """The file that the user means."""
    try:
        path = Path(source).expanduser()
        if path.is_file():
            return path
        is_something_else = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no permission, no such user (~name), name too long
        reason = error.strerror if isinstance(error, OSError) else error
        raise ScheduleError(one_line(f"cannot read the schedule {shown(str(source))}: {reason}")) from None
    if is_something_else and (path / "front").is_dir():
        raise ScheduleError(
            one_line(f"{path} is a run, not a schedule file: its schedules are {path}/front/*.yaml")
        )
    if is_something_else:
        raise ScheduleError(one_line(f"{path} is a folder or a device, not a schedule file"))
    known: list[str] = []
    with contextlib.suppress(ConfigError):  # an ecad without its data can still read files
        bundled = find_schedule(str(source))
        if bundled is not None:
            return bundled
        known = list_schedules()
    raise ScheduleError(
        f"no schedule file {shown(str(source))}, and no bundled schedule of that name; {_hint(str(source), known)}"
    )


def _hint(name: str, known: list[str]) -> str:
    """What may have been meant instead."""
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if is_collapsed_address(name):
        return "give an address as text, not as a Path, which makes one slash of two"
    if is_heuristic(name):
        return f"{name} is a heuristic: write its file with ecad schedule new {name} --model MODEL -o FILE"
    one_of_each = [next(group) for _, group in groupby(known, lambda each: each.partition("/")[0])]
    return f"there are {len(known)}, such as {', '.join(one_of_each) or 'none'}"


def _look_for_family(name: str, folders: Sequence[Path]) -> None:
    """Register the family of this name if a file in one of the folders describes it."""
    for path in (folder / FAMILY_FILE for folder in folders):
        if path.is_file() and (found := load_family(path)).name == name:
            register(found)
            return


def _schedule_from(root: Node, folders: Sequence[Path]) -> Schedule:
    content = root.mapping("the file")
    if "ecad_schedule" not in content:
        raise root.mistake("not an ecad schedule: the key 'ecad_schedule' (format version) is missing")
    # First of all: another version may have other keys.
    version = content["ecad_schedule"].integer("ecad_schedule (format version)", 1, 10**9)
    if version != FORMAT_VERSION:
        raise content["ecad_schedule"].mistake(
            f"format version {version}, but this ecad reads only {FORMAT_VERSION}: update ecad"
        )
    content = root.mapping("the file", required=_REQUIRED, known=_KEYS)
    name = content["name"].text("name") if "name" in content else ""
    steps = content["steps"].integer("steps", 1, MAX_STEPS)

    model = content["model"].mapping("model", required=_SIGNATURE)
    family = model["family"].text("family")
    if family not in FAMILIES:
        _look_for_family(family, folders)
    if family not in FAMILIES:
        raise model["family"].mistake(unknown_family(family))
    spec = FAMILIES[family]
    names = spec.block_list_names
    needed = tuple(each.name for each in spec.block_lists if not each.is_optional)
    blocks = model["blocks"].mapping("blocks", required=needed, known=names)
    needed = tuple(name for name in names if name in blocks)
    lists = content["recompute"].mapping("recompute", required=needed, known=(_OUTPUT, *needed))
    arrays = {}
    for block_list in spec.block_lists:
        if block_list.name not in blocks:
            continue
        count = blocks[block_list.name].integer(f"blocks of {block_list.name}", 1, MAX_BLOCKS)
        arrays[block_list.name] = _array_from(lists[block_list.name], block_list, steps, count)

    output = _output_from(lists[_OUTPUT], steps) if _OUTPUT in lists else None
    holds = _holds_from(content["holds"]) if "holds" in content else HOLDS_OUTPUT

    if "provenance" in content:
        content["provenance"].mapping("provenance")
    return Schedule(
        family,
        arrays,
        name=name,
        model={key: node.value() for key, node in model.items() if key not in _SIGNATURE},
        provenance=content["provenance"].value() if "provenance" in content else {},
        recompute_output=output,  # type: ignore[arg-type]  # None: in every step
        holds=holds,
    )


def _holds_from(node: Node) -> str:
    found = node.text("holds")
    if found not in HOLDS:
        raise node.mistake(f"holds is {' or '.join(map(repr, HOLDS))}, not {found!r}")
    return found


def _output_from(node: Node, steps: int) -> BoolArray:
    """Bool array (steps,): one digit a step."""
    digits = node.characters(_OUTPUT)
    wrong = next((digit for digit in digits if digit not in "01"), None)
    if wrong is not None:
        raise node.mistake(f"{_OUTPUT}: the digits are 0 or 1, not {wrong!r}")
    if len(digits) != steps:
        raise node.mistake(f"{_OUTPUT} has {len(digits)} digits, one per step, but 'steps' is {steps}")
    return np.array([digit == "1" for digit in digits])


def _array_from(node: Node, block_list: BlockList, steps: int, blocks: int) -> BoolArray:
    """Bool array (steps, blocks, components) of one block list."""
    names = block_list.component_names
    components = node.mapping(block_list.name, required=names, known=names)
    rows_of = {name: components[name].sequence(name) for name in names}
    for name, rows in rows_of.items():  # before the array, whose size is `steps`, is made
        if len(rows) != steps:
            raise components[name].mistake(
                f"{name} has {len(rows)} lines, one per step, but 'steps' is {steps}"
            )
    array = np.zeros((steps, blocks, len(names)), dtype=np.bool_)
    present = block_list.present(blocks)
    for index, name in enumerate(names):
        known = ["01" if row[index] else _ABSENT for row in present]
        for step, row in enumerate(rows_of[name]):
            digits = row.characters(f"step {step} of {name}")
            if len(digits) == blocks and all(map(str.__contains__, known, digits)):
                array[step, :, index] = [digit == "1" for digit in digits]
                continue
            wrong = next((digit for digit in digits if digit not in "01" and _ABSENT not in known), None)
            if wrong is not None:
                raise row.mistake(f"step {step} of {name}: the digits are 0 or 1, not {wrong!r}")
            if len(digits) != blocks:
                raise row.mistake(
                    f"step {step} of {name} has {len(digits)} digits, but there are {blocks} blocks"
                )
            pattern = "".join("." if choice == "01" else _ABSENT for choice in known)
            raise row.mistake(
                f"step {step} of {name}: {digits!r} must be like {pattern!r}, with 0 or 1 for each dot; the other "
                "blocks do not have it"
            )
    return array


# --- writing ---


def save_schedule(schedule: Schedule, path: str | os.PathLike[str]) -> None:
    """Write a schedule file, its folder too if need be; an existing file is replaced as a whole or not at all."""
    write_text(dump_schedule(schedule), path)


def save_official(
    schedule: Schedule, path: str | os.PathLike[str], metrics: Mapping[str, Any] | None = None
) -> None:
    """Write a schedule as JSON of the official ECAD implementation; see `dump_official`."""
    write_text(dump_official(schedule, metrics), path)


def write_text(text: str, path: str | os.PathLike[str]) -> None:
    """A schedule's text as a file, all or nothing; ScheduleError if it cannot be written or would be too large."""
    content = text.encode("utf-8")
    if len(content) > MAX_FILE_BYTES:
        raise ScheduleError(
            f"the schedule is too large for a file, which has at most {MAX_FILE_BYTES / 1e6:g} MB"
        )
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, content)
    except (OSError, ValueError) as error:  # ValueError: not a file name, for example ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise ScheduleError(one_line(f"cannot write {target}: {reason}")) from error


def dump_schedule(schedule: Schedule) -> str:
    """The file's text. Equal schedules with equal metadata give equal texts."""
    for key in _SIGNATURE:
        if key in schedule.model:
            raise ScheduleError(f"the schedule's model must not have the key {key!r}: the file has its own")
    information = dict(schedule.model)
    model: dict[str, Any] = {"name": information.pop("name")} if "name" in information else {}
    blocks = {name: count for name, count in schedule.shape.blocks.items() if count}
    model.update(family=schedule.family, blocks=blocks, **information)
    head: dict[str, Any] = {"ecad_schedule": FORMAT_VERSION, "name": schedule.name}
    head.update(model=model, steps=schedule.steps)
    if schedule.provenance:
        head["provenance"] = dict(schedule.provenance)
    if schedule.reuses_output and schedule.holds != HOLDS_OUTPUT:
        head["holds"] = schedule.holds
    lines = [_HEADER + dump_plain(head).rstrip("\n"), "recompute:"]
    if schedule.reuses_output:
        digits = "".join("01"[int(runs)] for runs in schedule.recompute_output)
        goes_on = _GOES_ON[schedule.holds]
        lines.append(f"  # one digit per step: in a step with 0 nothing of the transformer runs, {goes_on}")
        lines.append(f'  {_OUTPUT}: "{digits}"')
    for block_list in schedule.spec.block_lists:
        present = schedule.shape.present[block_list.name]
        if not len(present):
            continue
        lines.append(f"  {block_list.name}:")
        for index, component in enumerate(block_list.component_names):
            lines.append(f"    {component}:")
            for step, row in enumerate(schedule.recompute[block_list.name][:, :, index]):
                digits = "".join(
                    "01"[int(recompute)] if there else _ABSENT
                    for recompute, there in zip(row, present[:, index], strict=True)
                )
                lines.append(f'    - "{digits}"  # step {step}')
    text = "\n".join(lines) + "\n"
    if len(text.encode("utf-8")) > MAX_FILE_BYTES:
        raise ScheduleError(
            f"the schedule is too large for a file, which has at most {MAX_FILE_BYTES / 1e6:g} MB"
        )
    return text
