"""The initial population: known heuristics and step masks of all kinds of spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.genetic.granularity import Granularity, coarsened
from ecad.schedule import (
    Calibration,
    Schedule,
    ScheduleShape,
    best_masks,
    from_genome,
    gene_layout,
    genome_length,
    heuristic,
    smooth_of_share,
    step_mask,
    to_genome,
)

# In the order in which they enter a small population; "all" and "output:0" (or "denoised:0") are the ends of every
# front.
SEED_HEURISTICS = ("all", "{holds}:0", "fora:2", "fora:3", "fora:4", "fora:5", "fora:6", "attn:2")

# Shares of the steps at which evenly spaced step masks recompute everything, where FORA has no such interval.
EVEN_SHARES = (0.65, 0.45, 0.3, 0.15)

# Shares of the steps that the untouched model takes instead of all, and how many of the fewest are also tried unevenly
# spaced: where it matters most.
_STEP_SHARES, _UNEVEN = (0.65, 0.5, 0.4, 0.3, 0.25, 0.2), 4

# Exponents of front- and back-loaded spacings: step numbers are (i / n) ** exponent of all.
_FRONT_LOADED, _BACK_LOADED = 1.6, 0.7

# Shares of the components that SmoothCache recomputes, the most telling first.
SMOOTH_SHARES = (0.35, 0.25, 0.5, 0.2, 0.42, 0.3)

# Shares of the steps between which random step masks recompute everything.
_CHEAPEST, _DEAREST = 0.1, 0.6


def baseline_heuristics(shape: ScheduleShape) -> list[Schedule]:
    """The heuristics that fit this model: FORA and evenly spaced step masks, T-GATE at half of the steps, ..."""
    even = [f"mask:{','.join(map(str, _even_steps(shape.steps, share)))}" for share in EVEN_SHARES]
    names = [*SEED_HEURISTICS, *even, f"tgate:{max(1, shape.steps // 2)}"]
    schedules: list[Schedule] = []
    for name in names:
        try:
            schedule = heuristic(name.format(holds=shape.holds), shape)
        except ScheduleError:
            continue  # not every heuristic fits every family and number of steps
        if schedule not in schedules:
            schedules.append(schedule)
    return schedules


def _even_steps(steps: int, share: float) -> list[int]:
    """A share of the steps, evenly spaced from 0 on."""
    count = max(1, round(share * steps))
    return sorted({round(index * steps / count) for index in range(count)})


def fewer_counts(steps: int) -> list[int]:
    """How many steps the untouched model takes instead of so many, fewest last."""
    return sorted({max(2, round(steps * share)) for share in _STEP_SHARES} - {steps}, reverse=True)


def uneven_counts(steps: int) -> list[int]:
    """The fewest of these, which are also tried unevenly spaced."""
    return fewer_counts(steps)[-_UNEVEN:]


def uneven_steps(steps: int) -> list[tuple[int, ...]]:
    """Increasing step numbers, 0 first: front-loaded, and the fewest also back-loaded. No calibration is asked."""
    counts = uneven_counts(steps)
    loaded = [_loaded(steps, count, _FRONT_LOADED) for count in counts]
    return list(dict.fromkeys(loaded + [_loaded(steps, count, _BACK_LOADED) for count in counts[-1:]]))


def uneven_masks(shape: ScheduleShape) -> list[Schedule]:
    """The whole output recomputed at `uneven_steps`, the fewest first."""
    return [output_mask(numbers, shape) for numbers in sorted(uneven_steps(shape.steps), key=len)]


def _loaded(steps: int, count: int, exponent: float) -> tuple[int, ...]:
    """Fewer than `count` where two would be the same."""
    return tuple(sorted({min(steps - 1, round((i / count) ** exponent * steps)) for i in range(count)}))


def output_mask(numbers: Sequence[int], shape: ScheduleShape) -> Schedule:
    """All of the transformer at these steps, nothing of it at the others."""
    return heuristic(f"{shape.holds}:{','.join(map(str, numbers))}", shape)


def calibrated_schedules(calibration: Calibration, count: int) -> list[Schedule]:
    """What a calibration suggests, about `count` schedules over the range of costs: mostly the step masks that are best
    under its additive model, one for each number of steps; and some of SmoothCache's, by components.

    Of many steps not every number has its mask; those of `uneven_counts` have, unless that were most of the schedules.
    """
    shape = calibration.shape
    smooth = min(max(1, count // 4), len(SMOOTH_SHARES))
    masks = best_masks(calibration.output)
    most = max(2, round(_DEAREST * shape.steps))
    numbers = {round(each) for each in np.geomspace(2, most, max(1, count - smooth))}
    rivals = uneven_counts(shape.steps)
    if count - smooth >= 2 * len(rivals):
        numbers.update(rivals)
    schedules = [output_mask(masks[number], shape) for number in sorted(numbers & masks.keys())]
    return schedules + [smooth_of_share(calibration, share) for share in SMOOTH_SHARES[:smooth]]


def initial_genomes(
    shape: ScheduleShape,
    population: int,
    rng: np.random.Generator,
    finest: Granularity = "blocks",
    calibration: Calibration | None = None,
    start: Sequence[Schedule] = (),
) -> BoolArray:
    """Distinct genomes of shape (population, genes): a third are heuristics, the rest step masks.

    Schedules that are given to `start` from come first, and the others share what is left.

    An eighth are front- and back-loaded masks; the others are drawn, and cover the range of costs: a share of the steps
    is recomputed, more densely early or late; in the others nothing runs, or nothing but what surrounds the blocks, as
    in the heuristics. Which is better depends on the model. With a calibration half of the genomes are what that
    suggests: seeds are of many kinds, and evaluations decide.
    """
    layout = gene_layout(shape)
    genomes: list[BoolArray] = []
    seen: set[bytes] = set()

    def add(schedule: Schedule) -> None:
        [genome] = coarsened(to_genome(schedule)[None], layout, finest)
        if genome.tobytes() not in seen:
            seen.add(genome.tobytes())
            genomes.append(genome)

    for schedule in start:
        add(schedule)
    given = len(genomes)
    left = population - given
    for schedule in baseline_heuristics(shape):
        if len(genomes) - given < max(2, left // 3):
            add(schedule)
    for schedule in uneven_masks(shape)[: left // 8]:
        if len(genomes) < population:
            add(schedule)
    if calibration is not None:
        for schedule in calibrated_schedules(calibration, left // 2):
            if len(genomes) < population:
                add(schedule)
    attempts = 0
    while len(genomes) < population:
        attempts += 1
        if attempts > 1000 * population:
            raise ScheduleError(
                f"there are fewer than {population} different schedules for {shape.describe()}: "
                "choose a smaller population"
            )
        if attempts <= 20 * population:
            add(_warped_step_mask(shape, rng))
        else:  # there are too few different masks (few steps): whatever there is
            add(from_genome(rng.random(genome_length(shape)) < rng.random(), shape))
    return np.stack(genomes)


def _warped_step_mask(shape: ScheduleShape, rng: np.random.Generator) -> Schedule:
    """All blocks recompute at the same few steps, spaced by a power law with some jitter; half run nothing else."""
    # Log-uniform: cheap schedules are as frequent as costly ones.
    share = _CHEAPEST * (_DEAREST / _CHEAPEST) ** rng.random()
    exponent = float(np.exp(rng.uniform(-0.7, 0.7)))  # above 1: denser early, below 1: denser late
    mask = step_mask(shape, _warped_steps(shape.steps, share, exponent, rng))
    if rng.random() < 0.5:
        return mask
    recomputes = np.any([array.any(axis=(1, 2)) for array in mask.recompute.values()], axis=0)
    return mask.replace(recompute_output=recomputes)


def _warped_steps(steps: int, share: float, exponent: float, rng: np.random.Generator) -> list[int]:
    """About share * steps increasing step numbers, 0 first."""
    count = int(np.clip(round(share * steps), 1, steps))
    places = (np.arange(count) + rng.uniform(-0.3, 0.3, count).clip(min=-np.arange(count))) / count
    return sorted({0, *np.minimum(np.round(places**exponent * steps), steps - 1).astype(int).tolist()})
