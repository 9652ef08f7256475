"""What a schedule must cover: a family's block lists with their number of blocks, for a number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from types import MappingProxyType
from typing import Any

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.families import Family, get_family

MAX_STEPS = 1000
MAX_BLOCKS = 1000

# What the solver goes on with in a step in which nothing of the transformer runs: the transformer's last output, or the
# clean sample that was predicted last (x0; diffusers' `pred_original_sample`).
HOLDS_OUTPUT, HOLDS_DENOISED = HOLDS = ("output", "denoised")


def checked_steps(steps: Any) -> int:
    """A number of steps as a plain int, numpy's integers among them; ScheduleError for everything else."""
    if not _is_whole(steps) or not 1 <= steps <= MAX_STEPS:
        raise ScheduleError(f"a schedule needs 1 to {MAX_STEPS} steps, not {steps!r}")
    return int(steps)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class ScheduleShape:
    """Two shapes are equal if family, steps and blocks are: schedules of both fit the same model.

    `holds` is what the schedules that are made for this shape do where they reuse the whole output, see `Schedule`.
    """

    family: str
    steps: int
    blocks: Mapping[
        str, int
    ]  # block list name -> number of blocks, in the family's order; 0: an optional list
    holds: str = HOLDS_OUTPUT

    def __post_init__(self) -> None:
        spec = self.spec
        if self.holds not in HOLDS:
            raise ScheduleError(f"a schedule holds {' or '.join(map(repr, HOLDS))}, not {self.holds!r}")
        object.__setattr__(self, "steps", checked_steps(self.steps))
        optional = {each.name: 0 for each in spec.block_lists if each.is_optional}
        blocks = {**optional, **self.blocks}
        if set(blocks) != set(spec.block_list_names):
            raise ScheduleError(
                f"family {self.family!r} has the block lists {list(spec.block_list_names)}, "
                f"not {list(self.blocks)}"
            )
        for name, count in blocks.items():
            fewest = 0 if name in optional else 1
            if not _is_whole(count) or not fewest <= count <= MAX_BLOCKS:
                raise ScheduleError(f"block list {name!r} needs {fewest} to {MAX_BLOCKS} blocks, not {count}")
        ordered = {name: int(blocks[name]) for name in spec.block_list_names}
        object.__setattr__(self, "blocks", MappingProxyType(ordered))

    @property
    def spec(self) -> Family:
        return get_family(self.family)

    @cached_property
    def present(self) -> Mapping[str, BoolArray]:
        """Block list name -> which blocks have which components: read-only, shape (blocks, components)."""
        result = {}
        for block_list in self.spec.block_lists:
            array = np.array(block_list.present(self.blocks[block_list.name]), dtype=np.bool_)
            array = array.reshape(-1, len(block_list.components))  # also without any block
            array.flags.writeable = False
            result[block_list.name] = array
        return result

    def array_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Block list name -> (steps, blocks, components)."""
        return {
            block_list.name: (self.steps, self.blocks[block_list.name], len(block_list.components))
            for block_list in self.spec.block_lists
        }

    def filled(self, value: bool) -> dict[str, BoolArray]:
        """New arrays of this shape, every entry `value`."""
        return {name: np.full(shape, value, dtype=np.bool_) for name, shape in self.array_shapes().items()}

    def describe(self) -> str:
        lists = ", ".join(f"{count} {name}" for name, count in self.blocks.items() if count)
        return f"{self.family}, {self.steps} steps, {lists}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScheduleShape):
            return NotImplemented
        same_blocks = dict(self.blocks) == dict(other.blocks)
        return self.family == other.family and self.steps == other.steps and same_blocks

    def __hash__(self) -> int:
        return hash((self.family, self.steps, tuple(self.blocks.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        """Read-only mappings cannot be pickled: a worker in another process makes its own."""
        return ScheduleShape, (self.family, self.steps, dict(self.blocks), self.holds)
