"""Schedules in SmoothCache's JSON (arXiv 2411.10510): one mask per component, the same for all blocks.

    {"attn1": [1, 0, 1, ...], "ff": [1, 1, 0, ...]}

1 computes and 0 reuses the component's newest output, as here; a component that the file does not name is computed in
every step. Nothing says for which model: its blocks come from elsewhere, the number of steps from the masks.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError, one_line
from ecad.schedule.files.strict_json import parse_json
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import MAX_STEPS, ScheduleShape
from ecad.yaml_nodes import shown

# The names of SmoothCache's own files for DiT and OpenSora, where a family has no component of that name.
_KINDS_OF_WORD = {
    "attn": ("self_attention", "joint_attention"),
    "cross_attn": ("cross_attention",),
    "mlp": ("feed_forward",),
    "ff": ("feed_forward",),
}


def is_smoothcache(text: str) -> bool:
    """Whether this is meant to be JSON of SmoothCache: an object of lists."""
    if not text.lstrip("\ufeff \t\r\n").startswith("{"):
        return False
    try:
        content = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return False
    is_of_lists = bool(content) and all(isinstance(value, list) for value in content.values())
    return is_of_lists and "cache_schedule" not in content


def parse_smoothcache(text: str, like: ScheduleShape, origin: str) -> Schedule:
    """The schedule in a text for a model of that family and those blocks; `like.steps` does not matter.

    ScheduleError, naming `origin`, for every mistake.
    """
    try:
        return _schedule_from(parse_json(text), like)
    except ScheduleError as error:
        raise ScheduleError(one_line(f"{origin}: {error}")) from None


def _schedule_from(content: Any, like: ScheduleShape) -> Schedule:
    if not isinstance(content, dict) or not content:
        raise ScheduleError(
            f"not a schedule of SmoothCache: it must be masks by component, not {shown(content)}"
        )
    masks = {key: _mask(key, value) for key, value in content.items()}
    first = next(iter(masks))
    for key, mask in masks.items():
        if len(mask) != len(masks[first]):
            raise ScheduleError(
                f"all masks must have one digit per step: {first!r} has {len(masks[first])}, {key!r} has {len(mask)}"
            )
    shape = ScheduleShape(like.family, len(masks[first]), like.blocks)
    arrays = shape.filled(True)
    taken: dict[tuple[str, int], str] = {}
    for key, mask in masks.items():
        for place in _places(key, shape):
            if place in taken:
                raise ScheduleError(f"{taken[place]!r} and {key!r} are the same component of {shape.family}")
            taken[place] = key
            arrays[place[0]][:, :, place[1]] = mask[:, None]
    return Schedule(shape.family, arrays, name="smoothcache", provenance={"imported_from": "SmoothCache"})


def _mask(key: str, value: Any) -> BoolArray:
    """Bool array (steps,)."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_STEPS:
        raise ScheduleError(f"{shown(key)} must be a list of 1 to {MAX_STEPS} digits, not {shown(value)}")
    for step, digit in enumerate(value):
        if type(digit) is not int or digit not in (0, 1):
            raise ScheduleError(f"{shown(key)}, step {step}: the digits are 0 or 1, not {shown(digit)}")
    return np.array(value, dtype=np.bool_)


def _places(key: str, shape: ScheduleShape) -> list[tuple[str, int]]:
    """(block list, index of the component) of all that a name means: the component, else those of a kind."""
    parts = [
        (block_list.name, index, component)
        for block_list in shape.spec.block_lists
        for index, component in enumerate(block_list.components)
    ]
    found = [(name, index) for name, index, component in parts if component.name == key]
    kinds = _KINDS_OF_WORD.get(key, ())
    found = found or [(name, index) for name, index, component in parts if component.kind in kinds]
    if not found:
        known = ", ".join(dict.fromkeys(component.name for _, _, component in parts))
        raise ScheduleError(f"{shape.family} has no component {shown(key)}, only {known}")
    return found


# --- writing ---

_REMEDY = (
    "keep this schedule's own file, or use one that is the same in all blocks (fora:N, attn:N, smooth:ALPHA)"
)


def dump_smoothcache(schedule: Schedule) -> str:
    """The schedule as JSON of SmoothCache; ScheduleError if blocks differ or the whole output is reused."""
    if schedule.reuses_output:
        step = int(np.flatnonzero(~schedule.recompute_output)[0])
        raise ScheduleError(
            f"step {step} reuses the transformer's whole output, which SmoothCache cannot say: --format cache-dit "
            "writes a steps mask"
        )
    masks: dict[str, list[int]] = {}
    lists: dict[str, str] = {}
    for block_list in schedule.spec.block_lists:
        present = schedule.shape.present[block_list.name]
        for index, name in enumerate(block_list.component_names):
            if not present[:, index].any():  # so few blocks that none has it
                continue
            mask = _mask_of(schedule, block_list.name, index)
            if masks.setdefault(name, mask) != mask:
                step = next(
                    at for at, pair in enumerate(zip(masks[name], mask, strict=True)) if len(set(pair)) > 1
                )
                raise ScheduleError(
                    f"step {step}: {name} of {lists[name]} and of {block_list.name} differ, and SmoothCache has one "
                    f"mask for all: {_REMEDY}"
                )
            lists.setdefault(name, block_list.name)
    rows = [
        f"    {json.dumps(name)}: {json.dumps(mask, separators=(',', ':'))}" for name, mask in masks.items()
    ]
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _mask_of(schedule: Schedule, block_list: str, index: int) -> list[int]:
    """One digit per step."""
    has = schedule.shape.present[block_list][:, index]
    digits = schedule.recompute[block_list][:, has, index]  # (steps, blocks)
    name = schedule.spec.block_list(block_list).component_names[index]
    for step, row in enumerate(digits):
        if row.any() != row.all():
            raise ScheduleError(
                f"step {step}: {name} is recomputed in {int(row.sum())} of {row.size} {block_list}, and SmoothCache "
                f"has one mask for all: {_REMEDY}"
            )
    return [int(row.all()) for row in digits]


def is_uniform(schedule: Schedule) -> bool:
    """Whether `dump_smoothcache` can write it."""
    try:
        dump_smoothcache(schedule)
    except ScheduleError:
        return False
    return True
