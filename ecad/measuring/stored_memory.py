"""What stored outputs take of a device's memory, before anything is computed."""

from __future__ import annotations

from ecad.errors import ConfigError
from ecad.families import get_family
from ecad.measuring.macs import Work, component_output_values, stored_bytes, whole_output_values
from ecad.schedule import ScheduleShape, heuristic


def most_stored_bytes(workload: Work, bytes_per_value: int) -> int:
    """Of one image: every output of every block and the whole output, which a schedule can keep all at once."""
    family = get_family(workload.family)
    blocks = family.block_counts(workload.transformer)
    values = whole_output_values(workload) + sum(
        sum(family.block_list(block_list).by_block(component, number, blocks[block_list]))
        for (block_list, component), number in component_output_values(workload).items()
    )
    return values * bytes_per_value


def stored_memory_note(
    workload: Work, bytes_per_value: int, batch_size: int, steps: int, free_bytes: int | None
) -> str:
    """One line on the memory of stored outputs of a batch.

    ConfigError, with the remedy, if not even what `fora:2` holds, which reuses everything in every other step, is free.
    """
    shape = ScheduleShape(
        workload.family, steps, get_family(workload.family).block_counts(workload.transformer)
    )
    one = int(stored_bytes(heuristic("fora:2", shape), workload, bytes_per_value).max())
    if free_bytes is not None and one * batch_size > free_bytes:
        fits = free_bytes // one
        remedy = (
            f"give --batch-size {fits} or less"
            if fits
            else "make it smaller (--height, --width, of a video --num-frames), or take a device with more memory"
        )
        raise ConfigError(
            f"the stored outputs of a batch of {batch_size} take {_gigabytes(one * batch_size)} where every block is "
            f"reused, and {_gigabytes(free_bytes)} are free: {remedy}"
        )
    most = most_stored_bytes(workload, bytes_per_value)
    free = "" if free_bytes is None else f", of {_gigabytes(free_bytes)} of memory"
    return (
        f"stored outputs of a batch of {batch_size}: {_gigabytes(one * batch_size)} where every block is reused, at "
        f"most {_gigabytes(most * batch_size)}{free}"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
