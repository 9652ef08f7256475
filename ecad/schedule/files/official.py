"""Schedules in the JSON layout of the official ECAD implementation (arXiv 2506.15682): reading and writing.

    {"cache_schedule": {"num_blocks": 28, "num_inference_steps": 20, "name": ..., "attributes": {...},
                        "schedule": {"000": {"0": {"attn1": true, "attn2": true, "ff": true}, ...}, ...}},
     "config": {...}, "metrics": {...}}

A flag is true where the step recomputes the component. FLUX has `num_single_blocks` too, blocks "0", "1", ... with
`full_attn`, `full_ff`, `full_ff_context` and "single_0", ... with `single_attn`, `single_proj_mlp`, `single_proj_out`.

Reading keeps all the rest of the file under `provenance["official"]`, and there also the flags of step 0 where
they are not all true, since a schedule always recomputes step 0. So writing gives back the same data. It does so only
for the same flags: another schedule made from a read one does not inherit the measurements of its origin.
What the layout has no place for (our own `model` and `provenance`) is written under a key of its own, "ecad".
"""

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
    check_keys,
    count_in,
    json_object,
    member,
    official_layouts,
)
from ecad.schedule.files.official_model import model_of_config
from ecad.schedule.files.official_writing import dump_official
from ecad.schedule.files.strict_json import parse_json
from ecad.schedule.files.yaml_text import check_plain
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import MAX_BLOCKS, MAX_STEPS
from ecad.yaml_nodes import shown

__all__ = ["dump_official", "is_official", "parse_official"]


def is_official(text: str) -> bool:
    """Whether this is meant to be JSON of the official layout (it may be damaged), not a YAML file of ours."""
    return text.lstrip("\ufeff \t\r\n").startswith("{") and (
        '"cache_schedule"' in text or "ecad_schedule" not in text
    )


def parse_official(text: str) -> Schedule:
    """The schedule in a text. ScheduleError for every mistake, with its line or the keys that lead to it."""
    document = json_object(parse_json(text), "the file")
    head = member(document, "cache_schedule", "the file")
    steps = count_in(head, "num_inference_steps", MAX_STEPS)
    flags = member(head, "schedule", "cache_schedule")
    family = _family_of(head, flags)
    arrays = _arrays_from(flags, head, family, steps)
    name = head.get("name", "")
    if not isinstance(name, str):
        raise ScheduleError(f"cache_schedule.name must be text, not {shown(name)}")
    config = json_object(document.get("config", {}), "config")

    model, provenance = model_of_config(family, config), dict[str, Any]()
    own = document.get(OWN_KEY)
    is_own = False
    if isinstance(own, dict) and set(own) == {"model", "provenance"}:
        is_own = True
        model = json_object(own["model"], f"{OWN_KEY}.model")
        provenance = json_object(own["provenance"], f"{OWN_KEY}.provenance")
    check_plain({"name": name, "model": model, "provenance": provenance})
    schedule = Schedule(family, arrays, name=name, model=model, provenance=provenance)
    if is_own and json.loads(dump_official(schedule)) == document:
        return schedule  # written by us, and nothing was added since

    rest: dict[str, Any] = {
        key: value
        for key, value in document.items()
        if key != "cache_schedule" and not (is_own and key == OWN_KEY)
    }
    kept = {
        "digest": schedule.digest(),
        "cache_schedule": {key: value for key, value in head.items() if key != "schedule"},
        "rest": rest,
        **_first_step_to_keep(arrays, family),
    }
    if PROVENANCE_KEY in provenance:
        provenance = {**provenance, PROVENANCE_BEFORE_KEY: provenance[PROVENANCE_KEY]}
    provenance = {**provenance, PROVENANCE_KEY: kept}
    check_plain({"provenance": provenance})  # what is refused here could not be written to a file of ours
    return schedule.replace(provenance=provenance)


def _family_of(head: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    first = member(member(flags, "000", "cache_schedule.schedule"), "0", 'schedule["000"]')
    for family, layout in official_layouts().items():
        if set(first) & set(layout[0].components):
            return family
    known = "; ".join(
        f"{', '.join(layout[0].components)} ({family})" for family, layout in official_layouts().items()
    )
    raise ScheduleError(f'schedule["000"]["0"] has the components {shown(sorted(first))}; ecad knows {known}')


def _arrays_from(
    flags: Mapping[str, Any], head: Mapping[str, Any], family: str, steps: int
) -> dict[str, BoolArray]:
    """Bool arrays (steps, blocks, components), step 0 as the file has it."""
    layouts = official_layouts()[family]
    block_keys = {
        layout.name: layout.block_keys(count_in(head, layout.count_key, MAX_BLOCKS)) for layout in layouts
    }
    all_blocks = [key for keys in block_keys.values() for key in keys]
    step_keys = [f"{step:03d}" for step in range(steps)]
    check_keys(flags, step_keys, "cache_schedule.schedule", "num_inference_steps")
    arrays = {}
    for step_key in step_keys:
        where = f'schedule["{step_key}"]'
        counts = " and ".join(layout.count_key for layout in layouts)
        check_keys(json_object(flags[step_key], where), all_blocks, where, counts)
    for layout in layouts:
        keys = block_keys[layout.name]
        array = np.zeros((steps, len(keys), len(layout.components)), dtype=np.bool_)
        for step, step_key in enumerate(step_keys):
            for block, key in enumerate(keys):
                where = f'schedule["{step_key}"]["{key}"]'
                entry = json_object(flags[step_key][key], where)
                check_keys(entry, layout.components, where, f"the {family} family")
                for index, component in enumerate(layout.components):
                    value = entry[component]
                    if not isinstance(value, bool):
                        raise ScheduleError(
                            f'{where}["{component}"] must be true or false, not {shown(value)}'
                        )
                    array[step, block, index] = value
        arrays[layout.name] = array
    return arrays


def _first_step_to_keep(arrays: Mapping[str, BoolArray], family: str) -> dict[str, Any]:
    """The flags of step 0 as digits, one per block, or nothing where all are true."""
    if all(array[0].all() for array in arrays.values()):
        return {}
    return {
        "first_step": {
            layout.name: {
                component: "".join("01"[int(flag)] for flag in arrays[layout.name][0, :, index])
                for index, component in enumerate(layout.components)
            }
            for layout in official_layouts()[family]
        }
    }
