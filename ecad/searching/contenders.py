"""Whom the front meets in its report: the strongest simple alternatives that a sceptic would try."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ecad.errors import ModelError
from ecad.genetic.seeding import baseline_heuristics
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.measuring.stored_memory import most_held_bytes, too_large
from ecad.sampling.noise_levels import try_levels
from ecad.schedule import Schedule, best_masks, heuristic, smooth_of_share
from ecad.searching.setup import PreparedRun

# Shares of the steps that the untouched model takes instead of all.
_STEP_SHARES = (0.65, 0.5, 0.4, 0.3, 0.25, 0.2)

# Of these, how many of the fewest are also tried unevenly spaced: where it matters most.
_UNEVEN = 4

# Exponents of front- and back-loaded spacings: step numbers are (i / n) ** exponent of all.
_FRONT_LOADED, _BACK_LOADED = 1.6, 0.7

# Shares of the components that SmoothCache recomputes.
_SMOOTH_SHARES = (0.5, 0.35, 0.25)

_LOGGER = logging.getLogger(__name__)


def contenders_of(run: PreparedRun, front: Mapping[str, Schedule]) -> list[Contender]:
    """Uncached first, then the front, heuristics, and the untouched model with fewer steps, evenly spaced or not.

    Uneven steps are front-loaded, back-loaded, and where the run's calibration would compute; those also as masks
    (`output:`). Heuristics whose stored outputs cannot fit, and a scheduler that cannot run at some of its noise
    levels, are told of in the log.
    """
    steps = run.shape.steps
    counts = sorted({max(2, round(steps * share)) for share in _STEP_SHARES} - {steps}, reverse=True)
    calibrated = [best_masks(run.calibration.output)[count] for count in counts[-_UNEVEN:]]
    masks = [heuristic(f"output:{_numbers(levels)}", run.shape) for levels in calibrated]
    smooth = [smooth_of_share(run.calibration, share) for share in _SMOOTH_SHARES]
    simple = [item for item in baseline_heuristics(run.shape) if item.recompute_fraction() < 1.0]
    heuristics: list[Schedule] = []
    for schedule in [*simple, *masks, *smooth]:
        if schedule not in heuristics and _fits(run, schedule):
            heuristics.append(schedule)
    rows = [
        Contender("uncached", Kind.UNCACHED, steps),
        *(Contender(stem, Kind.FRONT, steps, schedule) for stem, schedule in front.items()),
        *(Contender(schedule.name, Kind.HEURISTIC, steps, schedule) for schedule in heuristics),
        *(Contender(f"steps:{count}", Kind.FEWER_STEPS, count) for count in counts),
    ]
    if _can_run_at_levels(run):
        front_loaded = [_loaded(steps, count, _FRONT_LOADED) for count in counts[-_UNEVEN:]]
        back_loaded = [_loaded(steps, count, _BACK_LOADED) for count in counts[-1:]]
        uneven = dict.fromkeys([*calibrated, *front_loaded, *back_loaded])
        rows += [
            Contender(f"steps:{_numbers(levels)}", Kind.FEWER_STEPS, len(levels), levels=levels)
            for levels in uneven
        ]
    return rows


def _fits(run: PreparedRun, schedule: Schedule) -> bool:
    if run.free_bytes is None:
        return True
    settings = run.settings
    summed_runs = True if settings.summed_runs else None
    size = run.subject.model.pipe.transformer.dtype.itemsize
    held = most_held_bytes(schedule, run.subject.workload, size, summed_runs)
    reason = too_large(held, settings.batch_size, run.free_bytes)
    if reason is not None:
        _LOGGER.warning("no row %s in the report: %s", schedule.name, reason)
    return reason is None


def _can_run_at_levels(run: PreparedRun) -> bool:
    try:
        try_levels(run.subject.sampler, run.heldout_prompts.prompts, run.settings.batch_size)
    except ModelError as error:
        _LOGGER.warning("no rows of uneven steps in the report: %s", error)
        return False
    return True


def _loaded(steps: int, count: int, exponent: float) -> tuple[int, ...]:
    """Increasing step numbers, 0 first; fewer than `count` where two would be the same."""
    return tuple(sorted({min(steps - 1, round((i / count) ** exponent * steps)) for i in range(count)}))


def _numbers(levels: tuple[int, ...]) -> str:
    return ",".join(map(str, levels))
