"""Schedules as JSON in the layout of the official ECAD implementation; `ecad.schedule.files.official` describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.schedule.files.official_layout import (
    OWN_KEY,
    PROVENANCE_BEFORE_KEY,
    PROVENANCE_KEY,
    json_object,
    member,
    official_layouts,
)
from ecad.schedule.files.official_model import model_of_config
from ecad.schedule.files.yaml_text import check_plain
from ecad.schedule.schedule import Schedule
from ecad.yaml_nodes import shown

_HEAD_KEYS = (
    "num_blocks",
    "num_inference_steps",
    "name",
    "attributes",
)  # before "schedule", as in their files


def dump_official(schedule: Schedule, metrics: Mapping[str, Any] | None = None) -> str:
    """The schedule as JSON of the official layout.

    A schedule that was read from such a file gives the same data again. For any other, `config` is made from its
    `model` and `metrics` (plain data, for example {"total_macs": ...}) is written as given.
    """
    if schedule.family not in official_layouts():
        raise ScheduleError(
            f"the official layout has no family {schedule.family!r}, only {sorted(official_layouts())}"
        )
    if schedule.reuses_output:
        raise ScheduleError(
            "the official layout cannot express that the transformer's whole output is reused, as this schedule does "
            f"in {schedule.steps - schedule.transformer_runs} steps: only reuse by components can be exported "
            "(--format cache-dit writes a steps mask)"
        )
    kept = schedule.provenance.get(PROVENANCE_KEY)
    if not isinstance(kept, dict) or kept.get("digest") != schedule.digest():
        kept = None
    arrays = {name: array.copy() for name, array in schedule.recompute.items()}
    if kept is None:
        head = _fresh_head(schedule)
        rest: dict[str, Any] = {"config": _fresh_config(schedule), "metrics": dict(metrics or {})}
        provenance = dict(schedule.provenance)
        derived_model: dict[str, Any] = {}
    else:
        where = f"provenance.{PROVENANCE_KEY}"
        head, rest = member(kept, "cache_schedule", where), dict(member(kept, "rest", where))
        _restore_first_step(arrays, kept, schedule.family, where)
        if schedule.name != head.get("name", ""):
            head = {**head, "name": schedule.name}
        provenance = {key: value for key, value in schedule.provenance.items() if key != PROVENANCE_KEY}
        if PROVENANCE_BEFORE_KEY in provenance:
            provenance[PROVENANCE_KEY] = provenance.pop(PROVENANCE_BEFORE_KEY)
        derived_model = model_of_config(
            schedule.family, json_object(rest.get("config", {}), f"{where}.config")
        )
    if provenance or schedule.model != derived_model:
        rest[OWN_KEY] = {"model": dict(schedule.model), "provenance": provenance}
    check_plain({"provenance": rest})
    before = {key: head[key] for key in _HEAD_KEYS if key in head}
    after = {key: value for key, value in head.items() if key not in before}
    flags = {f"{step:03d}": _flags_of_step(arrays, schedule.family, step) for step in range(schedule.steps)}
    return json.dumps({"cache_schedule": {**before, "schedule": flags, **after}, **rest}, indent=4)


def _flags_of_step(arrays: Mapping[str, BoolArray], family: str, step: int) -> dict[str, dict[str, bool]]:
    return {
        key: dict(zip(layout.components, flags, strict=True))
        for layout in official_layouts()[family]
        for key, flags in zip(
            layout.block_keys(arrays[layout.name].shape[1]), arrays[layout.name][step].tolist(), strict=True
        )
    }


def _fresh_head(schedule: Schedule) -> dict[str, Any]:
    """What their files state beside the flags. "Affected" is a block of a step in which anything is reused."""
    layouts = official_layouts()[schedule.family]
    # Per block list: bool array (steps, blocks), whether any component of the block is reused in the step.
    affected = [~schedule.recompute[layout.name].all(axis=2) for layout in layouts]
    attributes = {"num_affected_steps": int(np.concatenate(affected, axis=1).any(axis=1).sum())}
    for layout, each in zip(layouts, affected, strict=True):
        suffix = f"_{layout.prefix}".rstrip("_")
        attributes[f"num_affected_blocks{suffix}"] = int(each.any(axis=0).sum())
    attributes["total_num_affected_blocks"] = sum(int(each.sum()) for each in affected)
    head: dict[str, Any] = {layout.count_key: schedule.shape.blocks[layout.name] for layout in layouts}
    return {**head, "num_inference_steps": schedule.steps, "name": schedule.name, "attributes": attributes}


def _fresh_config(schedule: Schedule) -> dict[str, Any]:
    known = ("height", "width", "guidance_scale")
    return {key: schedule.model[key] for key in known if key in schedule.model}


def _restore_first_step(
    arrays: Mapping[str, BoolArray], kept: Mapping[str, Any], family: str, where: str
) -> None:
    if "first_step" not in kept:
        return
    lists = member(kept, "first_step", where)
    for layout in official_layouts()[family]:
        rows = member(lists, layout.name, f"{where}.first_step")
        array = arrays[layout.name]
        for index, component in enumerate(layout.components):
            digits = rows.get(component)
            if not isinstance(digits, str) or len(digits) != array.shape[1] or set(digits) - set("01"):
                raise ScheduleError(
                    f"{where}.first_step.{layout.name}.{component} must be {array.shape[1]} digits 0 or 1, "
                    f"not {shown(digits)}: remove 'first_step' to lose these flags, which are never used"
                )
            array[0, :, index] = [digit == "1" for digit in digits]
