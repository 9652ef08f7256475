"""The initial population: known heuristics, structured random schedules, mutants, and a little pure chance."""

from __future__ import annotations

import numpy as np

from ecad.errors import ScheduleError
from ecad.schedule import BoolArray, Schedule, ScheduleShape, heuristic, step_mask, to_genome

# In the order in which they enter a small population; "all" and "mask:0" are the ends of every front.
SEED_HEURISTICS = ("all", "mask:0", "fora:2", "fora:3", "fora:4", "fora:5", "fora:6", "attn:2")


def baseline_heuristics(shape: ScheduleShape) -> list[Schedule]:
    """The heuristics that fit this model, `tgate` at half of the steps included."""
    names = [*SEED_HEURISTICS, f"tgate:{max(1, shape.steps // 2)}"]
    schedules: list[Schedule] = []
    for name in names:
        try:
            schedule = heuristic(name, shape)
        except ScheduleError:
            continue  # not every heuristic fits every family and number of steps
        if schedule not in schedules:
            schedules.append(schedule)
    return schedules


def initial_genomes(
    shape: ScheduleShape, population: int, rng: np.random.Generator, mutation_rate: float
) -> BoolArray:
    """Distinct genomes of shape (population, genes), the heuristics first.

    About half of the rest are step masks drawn for each component by itself (they cover the range of costs
    evenly), a third are mutants of those before, the remainder has independent bits.
    """
    schedules = baseline_heuristics(shape)[:population]
    genomes = [to_genome(schedule) for schedule in schedules]
    seen = {genome.tobytes() for genome in genomes}
    parents = list(genomes)
    attempts = 0
    while len(genomes) < population:
        attempts += 1
        if attempts > 1000 * population:
            raise ScheduleError(
                f"there are fewer than {population} different schedules for {shape.describe()}: "
                "choose a smaller population"
            )
        draw = rng.random()
        if draw < 0.55:
            genome = to_genome(_random_step_masks(shape, rng))
        elif draw < 0.9:
            parent = parents[int(rng.integers(len(parents)))]
            genome = parent ^ (rng.random(parent.shape) < mutation_rate)
        else:
            genome = rng.random(len(to_genome(Schedule.all_recompute(shape)))) < rng.uniform(0.1, 0.6)
        if genome.tobytes() not in seen:
            seen.add(genome.tobytes())
            genomes.append(genome)
            parents.append(genome)
    return np.stack(genomes)


def _random_step_masks(shape: ScheduleShape, rng: np.random.Generator) -> Schedule:
    """Each component is recomputed in all blocks at steps of its own, as many as a share drawn for all."""
    share = rng.uniform(0.1, 0.6)
    arrays = {name: array.copy() for name, array in step_mask(shape, [0]).recompute.items()}
    for array in arrays.values():
        for component in range(array.shape[2]):
            count = int(np.clip(round(share * shape.steps * rng.uniform(0.6, 1.4)), 0, shape.steps - 1))
            steps = rng.choice(shape.steps - 1, size=count, replace=False) + 1
            array[steps, :, component] = True
    return Schedule(shape.family, arrays)
