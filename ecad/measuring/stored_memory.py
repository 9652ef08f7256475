"""What stored outputs take of a device's memory, before anything is computed."""

from __future__ import annotations

import numpy as np

from ecad.errors import ConfigError
from ecad.families import get_family
from ecad.measuring.macs import Work, component_output_values, stored_bytes, whole_output_values
from ecad.schedule import Schedule, ScheduleShape, heuristic


def most_stored_bytes(workload: Work, bytes_per_value: int) -> int:
    """Of one image: every output of every block and the whole output, which a schedule can keep all at once."""
    family = get_family(workload.family)
    blocks = family.block_counts(workload.transformer)
    values = whole_output_values(workload) + sum(
        sum(family.block_list(block_list).by_block(component, number, blocks[block_list]))
        for (block_list, component), number in component_output_values(workload).items()
    )
    return values * bytes_per_value


def most_held_bytes(
    schedule: Schedule, workload: Work, bytes_per_value: int, summed_runs: bool | None = None
) -> int:
    """Of one image, after the step in which it is most; `summed_runs` as `ecad.apply` takes it."""
    is_summed, everywhere = summed_runs is not False, summed_runs is True
    held = stored_bytes(schedule, workload, bytes_per_value, summed_runs=is_summed, everywhere=everywhere)
    return int(held.max())


def stored_memory_note(
    workload: Work,
    bytes_per_value: int,
    batch_size: int,
    steps: int,
    free_bytes: int | None,
    summed_runs: bool = False,
    only_whole_steps: bool = False,
) -> str:
    """One line on the memory of stored outputs of a batch.

    With `only_whole_steps` candidates recompute every component in a step or none. ConfigError, with the remedy, if not
    even what `fora:2` holds, which reuses everything in every other step, is free.
    """
    family = get_family(workload.family)
    shape = ScheduleShape(workload.family, steps, family.block_counts(workload.transformer))
    every_other = heuristic("fora:2", shape)
    one = most_held_bytes(every_other, workload, bytes_per_value, summed_runs)
    if free_bytes is not None and one * batch_size > free_bytes:
        remedies = []
        summed = most_held_bytes(every_other, workload, bytes_per_value, summed_runs=True)
        if summed < one and (fits := free_bytes // summed):
            batch = "" if fits >= batch_size else f" with --batch-size {fits} or less"
            remedies.append(f"give --summed-runs{batch} (then {_gigabytes(summed * min(fits, batch_size))})")
        if fits := free_bytes // one:
            remedies.append(f"give --batch-size {fits} or less")
        remedy = ", or ".join(remedies) or (
            "make it smaller (--height, --width, of a video --num-frames), or take a device with more memory"
        )
        raise ConfigError(
            f"the stored outputs of a batch of {batch_size} take {_gigabytes(one * batch_size)} where every block is "
            f"reused, and {_gigabytes(free_bytes)} are free: {remedy}"
        )
    if only_whole_steps and summed_runs:
        # After step 0 both are held: the whole output for step 1, in which nothing runs, and the sums for step 2.
        mask = heuristic("mask:0", shape).replace(recompute_output=np.arange(steps) % 2 == 0)
        most = max(one, most_held_bytes(mask, workload, bytes_per_value, summed_runs))
    else:
        most = most_stored_bytes(workload, bytes_per_value)
    free = "" if free_bytes is None else f", of {_gigabytes(free_bytes)} of memory"
    how = ", as sums" if summed_runs else ""
    return (
        f"stored outputs of a batch of {batch_size}: {_gigabytes(one * batch_size)} where every block is reused{how}, "
        f"at most {_gigabytes(most * batch_size)}{free}"
    )


def too_large(held_bytes: int, images: int, free_bytes: int) -> str | None:
    """Why a schedule that holds so many bytes of an image cannot be followed with so many images; None if it can."""
    if held_bytes * images <= free_bytes:
        return None
    return (
        f"the stored outputs of {images} image{'s' if images > 1 else ''} take {_gigabytes(held_bytes * images)}, and "
        f"{_gigabytes(free_bytes)} are free"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
