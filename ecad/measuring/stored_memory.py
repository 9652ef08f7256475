"""What stored outputs take of a device's memory, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

from ecad.errors import ConfigError, TransientEvaluationError
from ecad.families import get_family
from ecad.measuring.macs import Work, component_output_values, stored_bytes, whole_output_values
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.summed import SummedRuns


@dataclass(frozen=True)
class Keeping:
    """How schedules are applied to a model: what decides how much of each step is kept.

    `summed_runs` is as in `ecad.apply`, `bytes_per_value` those of an output's numbers.
    """

    workload: Work
    bytes_per_value: int
    summed_runs: bool = False

    def most_bytes_of(self, schedule: Schedule) -> int:
        """The most that is kept at a time for one image."""
        how: SummedRuns = "memory" if self.summed_runs else False
        return int(stored_bytes(schedule, self.workload, self.bytes_per_value, summed_runs=how).max())

    @property
    def most_bytes(self) -> int:
        """Of one image, for whatever schedule: every output of every block and the whole output."""
        family = get_family(self.workload.family)
        blocks = family.block_counts(self.workload.transformer)
        values = whole_output_values(self.workload) + sum(
            sum(family.block_list(block_list).by_block(component, number, blocks[block_list]))
            for (block_list, component), number in component_output_values(self.workload).items()
        )
        return values * self.bytes_per_value

    def reusing_every_block_bytes(self, steps: int) -> int:
        """Of one image, where every block is reused in every other step (`fora:2`)."""
        blocks = get_family(self.workload.family).block_counts(self.workload.transformer)
        return self.most_bytes_of(heuristic("fora:2", ScheduleShape(self.workload.family, steps, blocks)))


@dataclass(frozen=True)
class StoredLimit:
    """The most that may be kept at a time."""

    keeping: Keeping
    limit_bytes: int

    def allows(self, schedule: Schedule, images: int) -> bool:
        return self.keeping.most_bytes_of(schedule) * images <= self.limit_bytes

    def refuse(self, schedule: Schedule, images: int) -> None:
        """TransientEvaluationError, as where memory runs out: fewer images at a time may do."""
        if not self.allows(schedule, images):
            needed = gigabytes(self.keeping.most_bytes_of(schedule) * images)
            raise TransientEvaluationError(
                f"out of memory with batches of {images} images: what the schedule reuses would take {needed}, and "
                f"{gigabytes(self.limit_bytes)} are free"
            )


def stored_memory_note(
    keeping: Keeping, batch_size: int, steps: int, free_bytes: int | None, only_steps: bool = False
) -> str:
    """One line on the memory of stored outputs of a batch.

    `only_steps`: no candidate reuses less than the whole output. ConfigError, with the remedy, if what candidates may
    need is not free; with summed runs, if not even what `fora:2` holds is.
    """
    one = whole_output_values(keeping.workload) * keeping.bytes_per_value
    most, where = one, "where the whole output is reused"
    if not only_steps:
        one, where = keeping.reusing_every_block_bytes(steps), "where every block is reused"
        most = max(one, keeping.most_bytes)
    if free_bytes is not None and one * batch_size > free_bytes:
        remedies = _remedies(keeping, batch_size, steps, free_bytes, free_bytes // one, only_steps)
        raise ConfigError(
            f"the stored outputs of a batch of {batch_size} take {gigabytes(one * batch_size)} {where}, and "
            f"{gigabytes(free_bytes)} are free: {remedies}"
        )
    free = "" if free_bytes is None else f", of {gigabytes(free_bytes)} of memory"
    if keeping.summed_runs and free_bytes is not None and most * batch_size > free_bytes:
        free += " (schedules that need more are not tried)"
    kept = f"{gigabytes(one * batch_size)} {where}, at most {gigabytes(most * batch_size)}"
    return f"stored outputs of a batch of {batch_size}: {kept}{free}"


def _remedies(
    keeping: Keeping, batch_size: int, steps: int, free_bytes: int, fits: int, only_steps: bool
) -> str:
    """What to do where a batch does not fit, and `fits` images would."""
    found = [f"give --batch-size {fits} or less"] if fits else []
    if not keeping.summed_runs and not only_steps and get_family(keeping.workload.family).sums_up:
        summed = Keeping(keeping.workload, keeping.bytes_per_value, True).reusing_every_block_bytes(steps)
        fit = min(batch_size, free_bytes // summed)
        if fit > fits:
            smaller = "" if fit == batch_size else f" and --batch-size {fit}"
            found.append(f"give --summed-runs{smaller}, which takes {gigabytes(summed * fit)} there")
    if not fits:
        if not only_steps and not found:
            found.append("give --granularity steps")
        found.append(
            "make it smaller (--height, --width, of a video --num-frames), or take a device with more memory"
        )
    return ", or ".join(found)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
