"""The initial population: known heuristics, structured random schedules, mutants, and a little pure chance."""

from __future__ import annotations

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.schedule import Schedule, ScheduleShape, from_genome, genome_length, heuristic, to_genome

# In the order in which they enter a small population; "all" and "mask:0" are the ends of every front.
SEED_HEURISTICS = ("all", "mask:0", "fora:2", "fora:3", "fora:4", "fora:5", "fora:6", "attn:2")

# Shares of the steps at which evenly spaced step masks recompute everything, where FORA has no such interval.
EVEN_SHARES = (0.65, 0.45, 0.3, 0.15)


def baseline_heuristics(shape: ScheduleShape) -> list[Schedule]:
    """The heuristics that fit this model: FORA and evenly spaced step masks, T-GATE at half of the steps, ..."""
    even = [f"mask:{','.join(map(str, _even_steps(shape.steps, share)))}" for share in EVEN_SHARES]
    names = [*SEED_HEURISTICS, *even, f"tgate:{max(1, shape.steps // 2)}"]
    schedules: list[Schedule] = []
    for name in names:
        try:
            schedule = heuristic(name, shape)
        except ScheduleError:
            continue  # not every heuristic fits every family and number of steps
        if schedule not in schedules:
            schedules.append(schedule)
    return schedules


def _even_steps(steps: int, share: float) -> list[int]:
    """A share of the steps, evenly spaced from 0 on."""
    count = max(1, round(share * steps))
    return sorted({round(index * steps / count) for index in range(count)})


def initial_genomes(
    shape: ScheduleShape, population: int, rng: np.random.Generator, mutation_rate: float
) -> BoolArray:
    """Distinct genomes of shape (population, genes), the heuristics first.

    Most of the rest are unevenly spaced step masks, which cover the range of costs: a share of the steps is
    recomputed, more densely early or late, at the same or at different steps for each component. Others are
    mutants of those before, a few have independent bits.
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
        if draw < 0.75:
            genome = to_genome(_warped_step_masks(shape, rng))
        elif draw < 0.95:
            parent = parents[int(rng.integers(len(parents)))]
            genome = parent ^ (rng.random(parent.shape) < mutation_rate)
        else:
            genome = rng.random(genome_length(shape)) < rng.uniform(0.1, 0.6)
        genome = to_genome(from_genome(genome, shape))  # what is not read is 0
        if genome.tobytes() not in seen:
            seen.add(genome.tobytes())
            genomes.append(genome)
            parents.append(genome)
    return np.stack(genomes)


def _warped_step_masks(shape: ScheduleShape, rng: np.random.Generator) -> Schedule:
    """All blocks recompute at the same few steps, spaced by a power law with some jitter.

    Mostly all components share the steps; else each has as many as it draws around a common share.
    """
    share = (
        0.12 * (0.55 / 0.12) ** rng.random()
    )  # log-uniform: cheap schedules are as frequent as costly ones
    exponent = float(np.exp(rng.uniform(-0.5, 0.5)))  # above 1: denser early, below 1: denser late
    is_shared = rng.random() < 0.7
    arrays = shape.filled(False)
    steps = _warped_steps(shape.steps, share, exponent, rng)
    for array in arrays.values():
        for component in range(array.shape[2]):
            if not is_shared:
                steps = _warped_steps(shape.steps, share * rng.uniform(0.6, 1.4), exponent, rng)
            array[steps, :, component] = True
    return Schedule(shape.family, arrays)


def _warped_steps(steps: int, share: float, exponent: float, rng: np.random.Generator) -> list[int]:
    """About share * steps increasing step numbers, 0 first."""
    count = int(np.clip(round(share * steps), 1, steps))
    places = (np.arange(count) + rng.uniform(-0.3, 0.3, count).clip(min=-np.arange(count))) / count
    return sorted({0, *np.minimum(np.round(places**exponent * steps), steps - 1).astype(int).tolist()})
