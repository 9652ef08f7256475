"""Schedules in the formats of other tools, by the format's name: `ecad schedule export --format`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ecad.errors import ConfigError
from ecad.schedule.files.ecad_yaml import write_text
from ecad.schedule.files.official import dump_official
from ecad.schedule.files.smoothcache import dump_smoothcache
from ecad.schedule.files.steps_mask import dump_cache_dit, dump_sd_cpp, dump_sglang
from ecad.schedule.schedule import Schedule

OFFICIAL = "official"


class Format(NamedTuple):
    """What can be written, and what its readers make of it (nothing to say where they do as ecad does)."""

    dump: Callable[[Schedule], str]
    difference: str = ""


_MASK = "a steps mask is not the schedule: these tools run some blocks in every step, images and times differ"

FORMATS: Mapping[str, Format] = {
    OFFICIAL: Format(dump_official),
    "cache-dit": Format(dump_cache_dit, _MASK),
    "sd.cpp": Format(dump_sd_cpp, _MASK),
    "sglang": Format(dump_sglang, _MASK),
    "smoothcache": Format(dump_smoothcache),
}


def check_format(name: str) -> Format:
    """ConfigError, with what there is, for an unknown name."""
    if name not in FORMATS:
        close = get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(FORMATS)}"
        raise ConfigError(f"unknown format {name!r}: {hint}")
    return FORMATS[name]


def export_schedule(
    schedule: Schedule, path: str | os.PathLike[str], name: str, metrics: Mapping[str, Any] | None = None
) -> None:
    """Write a schedule in another tool's format; only official files have a place for `metrics`."""
    dump = check_format(name).dump
    write_text(dump_official(schedule, metrics) if name == OFFICIAL else dump(schedule), path)
