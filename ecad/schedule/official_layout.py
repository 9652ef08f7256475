"""The JSON layout of the official ECAD implementation: its names, and checks of what a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ecad.errors import ScheduleError
from ecad.schedule.yaml_nodes import shown

PROVENANCE_KEY = "official"  # in Schedule.provenance: all of a read file but the flags
PROVENANCE_BEFORE_KEY = "official_before"  # an older one, of the schedule that a read one was made from

OWN_KEY = "ecad"  # top-level key of a written file with what the layout has no place for


@dataclass(frozen=True)
class BlockLayout:
    """How their files name the blocks and components of one of our block lists."""

    name: str  # of our block list
    count_key: str
    prefix: str  # of a block's key
    components: tuple[str, ...]  # in the order of our components

    def block_keys(self, blocks: int) -> list[str]:
        return [f"{self.prefix}{block}" for block in range(blocks)]


LAYOUTS: dict[str, tuple[BlockLayout, ...]] = {
    "pixart": (BlockLayout("transformer_blocks", "num_blocks", "", ("attn1", "attn2", "ff")),),
    "flux": (
        BlockLayout("transformer_blocks", "num_blocks", "", ("full_attn", "full_ff", "full_ff_context")),
        BlockLayout(
            "single_transformer_blocks",
            "num_single_blocks",
            "single_",
            ("single_attn", "single_proj_mlp", "single_proj_out"),
        ),
    ),
}


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
