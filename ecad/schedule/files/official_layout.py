"""The JSON layout of the official ECAD implementation: its names, and checks of what a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ecad.errors import ScheduleError
from ecad.families import FAMILIES, Family
from ecad.families.family import OfficialNames
from ecad.yaml_nodes import shown

PROVENANCE_KEY = "official"  # in Schedule.provenance: all of a read file but the flags
PROVENANCE_BEFORE_KEY = "official_before"  # an older one, of the schedule that a read one was made from

OWN_KEY = "ecad"  # top-level key of a written file with what the layout has no place for


@dataclass(frozen=True)
class BlockLayout:
    """How their files name the blocks and components of one of our block lists."""

    name: str  # of our block list
    official: OfficialNames

    @property
    def count_key(self) -> str:
        return self.official.count_key

    @property
    def prefix(self) -> str:
        """Of a block's key."""
        return self.official.prefix

    @property
    def components(self) -> tuple[str, ...]:
        """In the order of ours."""
        return self.official.components

    def block_keys(self, blocks: int) -> list[str]:
        return [f"{self.prefix}{block}" for block in range(blocks)]


def official_layouts() -> dict[str, tuple[BlockLayout, ...]]:
    """Family -> its block lists, for the families that the layout knows."""
    return {family.name: found for family in FAMILIES.values() if (found := _layout_of(family))}


def _layout_of(family: Family) -> tuple[BlockLayout, ...]:
    found = [BlockLayout(each.name, each.official) for each in family.block_lists if each.official]
    return tuple(found) if len(found) == len(family.block_lists) else ()


def json_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScheduleError(f"{where} must be a JSON object, not {shown(value)}")
    return value


def member(parent: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    if key not in parent:
        raise ScheduleError(f"not a schedule of the official layout: {where} has no key {key!r}")
    return json_object(parent[key], key)


def count_in(head: Mapping[str, Any], key: str, most: int) -> int:
    value = head.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise ScheduleError(
            f"cache_schedule.{key} must be a whole number from 1 to {most}, not {shown(value)}"
        )
    return value


def check_keys(entries: Mapping[str, Any], expected: Iterable[str], where: str, because: str) -> None:
    """All expected keys and no other; `because` names what the expectation follows from."""
    wanted = dict.fromkeys(expected)
    missing = [key for key in wanted if key not in entries]
    unknown = [key for key in entries if key not in wanted]
    if missing:
        raise ScheduleError(f"{where}: the key {missing[0]!r} is missing, which {because} asks for")
    if unknown:
        raise ScheduleError(f"{where}: the key {shown(unknown[0])} does not agree with {because}")
