"""Schedules as flat bit vectors for the genetic algorithm. Step 0 always recomputes, so it has no genes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import ScheduleShape


def genome_length(shape: ScheduleShape) -> int:
    """Number of free genes: (steps - 1) times the number of components in all blocks, and one for the whole output."""
    return (shape.steps - 1) * (1 + sum(int(present.sum()) for present in shape.present.values()))


def to_genome(schedule: Schedule) -> BoolArray:
    """The free genes of a schedule, shape (genome_length,): block list by block list, step-major; last the whole
    output's, one a step."""
    present = schedule.shape.present
    parts = [array[1:, present[name]].ravel() for name, array in schedule.recompute.items()]
    return np.concatenate([*parts, schedule.recompute_output[1:]])


def from_genome(genome: BoolArray, shape: ScheduleShape, name: str = "") -> Schedule:
    """The schedule of a genome of shape (genome_length,)."""
    length = genome_length(shape)
    if genome.shape != (length,):
        raise ScheduleError(
            f"a genome for {shape.describe()} has {length} genes, not the shape {genome.shape}"
        )
    arrays = shape.filled(True)
    start = 0
    for name, present in shape.present.items():
        stop = start + (shape.steps - 1) * int(present.sum())
        arrays[name][1:, present] = genome[start:stop].reshape(shape.steps - 1, -1)
        start = stop
    output = np.concatenate([[True], genome[start:]])
    return Schedule(shape.family, arrays, name=name, recompute_output=output, holds=shape.holds)


@dataclass(frozen=True)
class GeneLayout:
    """What the genes mean to operators that know no schedule; all arrays have shape (genome_length,).

    `groups` numbers the pairs of step and component (all blocks of a list that have it; the whole output is one more)
    from 0. `steps` is the gene's step, from 1. `next_step` is the index of the gene of the same block and component
    one step later, and -1 in the last step. `switch` is the index of the gene of the whole output in the same step:
    where that is 0, no other gene of the step is read.
    """

    groups: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    next_step: npt.NDArray[np.int64]
    switch: npt.NDArray[np.int64]


def gene_layout(shape: ScheduleShape) -> GeneLayout:
    """The layout of this shape's genomes, in the order of `to_genome`."""
    groups: list[npt.NDArray[np.int64]] = []
    steps: list[npt.NDArray[np.int64]] = []
    next_step: list[npt.NDArray[np.int64]] = []
    first_group = first_gene = 0
    for name, (count, blocks, components) in shape.array_shapes().items():
        present = shape.present[name]
        size = (count - 1, blocks, components)
        numbers = first_group + np.arange((count - 1) * components).reshape(count - 1, 1, components)
        groups.append(np.broadcast_to(numbers, size)[:, present].ravel())
        steps.append(np.broadcast_to(np.arange(1, count).reshape(-1, 1, 1), size)[:, present].ravel())
        genes = first_gene + np.arange((count - 1) * int(present.sum())).reshape(count - 1, -1)
        later = np.full(genes.shape, -1)
        later[:-1] = genes[1:]
        next_step.append(later.ravel())
        first_group += (count - 1) * components
        first_gene += genes.size
    groups.append(first_group + np.arange(shape.steps - 1))
    steps.append(np.arange(1, shape.steps))
    next_step.append(np.append(first_gene + np.arange(1, shape.steps - 1), -1)[: shape.steps - 1])
    step_of = np.concatenate(steps)
    # Numbered without gaps, also where no block has some component.
    _, numbers = np.unique(np.concatenate(groups), return_inverse=True)
    return GeneLayout(numbers, step_of, np.concatenate(next_step), first_gene + step_of - 1)


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
