"""Schedules as flat bit vectors for the genetic algorithm. Step 0 always recomputes, so it has no genes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecad.errors import ScheduleError
from ecad.schedule.schedule import BoolArray, Schedule, ScheduleShape


def genome_length(shape: ScheduleShape) -> int:
    """Number of free genes: the sum over block lists of (steps - 1) * blocks * components."""
    return sum((steps - 1) * blocks * parts for steps, blocks, parts in shape.array_shapes().values())


def to_genome(schedule: Schedule) -> BoolArray:
    """The free genes of a schedule, shape (genome_length,): block list by block list, step-major."""
    return np.concatenate([array[1:].ravel() for array in schedule.recompute.values()])


def from_genome(genome: BoolArray, shape: ScheduleShape, name: str = "") -> Schedule:
    """The schedule of a genome of shape (genome_length,)."""
    length = genome_length(shape)
    if genome.shape != (length,):
        raise ScheduleError(
            f"a genome for {shape.describe()} has {length} genes, not the shape {genome.shape}"
        )
    arrays = shape.filled(True)
    start = 0
    for list_name, (steps, blocks, components) in shape.array_shapes().items():
        size = (steps - 1) * blocks * components
        arrays[list_name][1:] = genome[start : start + size].reshape(steps - 1, blocks, components)
        start += size
    return Schedule(shape.family, arrays, name=name)


def gene_groups(shape: ScheduleShape) -> npt.NDArray[np.int64]:
    """Group number of every gene, shape (genome_length,): genes of one step and component, over all blocks."""
    parts: list[npt.NDArray[np.int64]] = []
    first = 0
    for steps, blocks, components in shape.array_shapes().values():
        numbers = first + np.arange((steps - 1) * components).reshape(steps - 1, 1, components)
        parts.append(np.broadcast_to(numbers, (steps - 1, blocks, components)).ravel())
        first += (steps - 1) * components
    return np.concatenate(parts)


def genome_to_hex(genome: BoolArray) -> str:
    """Compact text form for logs: the bits, first gene first, packed into bytes, in hex."""
    return np.packbits(genome).tobytes().hex()


def genome_from_hex(text: str, length: int) -> BoolArray:
    """Inverse of `genome_to_hex` for a genome of `length` genes."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    except ValueError:
        raise ScheduleError(f"not a hexadecimal genome: {text[:40]!r}") from None
    if len(packed) != (length + 7) // 8:
        raise ScheduleError(f"a genome of {length} genes has {(length + 7) // 8} bytes, got {len(packed)}")
    return np.unpackbits(packed, count=length).astype(np.bool_)
