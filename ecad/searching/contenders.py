"""Whom the front meets in its report: the strongest simple alternatives that a sceptic would try."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ecad.errors import ModelError
from ecad.genetic.seeding import (
    SMOOTH_SHARES,
    baseline_heuristics,
    fewer_counts,
    output_mask,
    uneven_counts,
    uneven_masks,
    uneven_steps,
)
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.measuring.stored_memory import most_held_bytes, too_large
from ecad.sampling.noise_levels import try_levels
from ecad.schedule import Schedule, best_masks, smooth_of_share
from ecad.searching.setup import PreparedRun

# How many of SmoothCache's schedules the front meets.
_SMOOTH = 3

_LOGGER = logging.getLogger(__name__)


def contenders_of(run: PreparedRun, front: Mapping[str, Schedule]) -> list[Contender]:
    """Uncached first, then the front, heuristics, and the untouched model with fewer steps, evenly spaced or not.

    Uneven steps are front-loaded, back-loaded, and where the run's calibration would compute; all of them also as masks
    (`output:` or `denoised:`). Heuristics whose stored outputs cannot fit, and a scheduler that cannot run at some of
    its noise levels, are told of in the log.
    """
    steps = run.shape.steps
    calibrated = [best_masks(run.calibration.output)[count] for count in uneven_counts(steps)]
    masks = [output_mask(levels, run.shape) for levels in calibrated] + uneven_masks(run.shape)
    smooth = [smooth_of_share(run.calibration, share) for share in SMOOTH_SHARES[:_SMOOTH]]
    simple = [item for item in baseline_heuristics(run.shape) if item.recompute_fraction() < 1.0]
    heuristics: list[Schedule] = []
    for schedule in [*simple, *masks, *smooth]:
        if schedule not in heuristics and _fits(run, schedule):
            heuristics.append(schedule)
    rows = [
        Contender("uncached", Kind.UNCACHED, steps),
        *(Contender(stem, Kind.FRONT, steps, schedule) for stem, schedule in front.items()),
        *(Contender(schedule.name, Kind.HEURISTIC, steps, schedule) for schedule in heuristics),
        *(Contender(f"steps:{count}", Kind.FEWER_STEPS, count) for count in fewer_counts(steps)),
    ]
    if _can_run_at_levels(run):
        uneven = dict.fromkeys([*calibrated, *uneven_steps(steps)])
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
    reason = too_large(held, run.report_batch_size, run.free_bytes)
    if reason is not None:
        _LOGGER.warning("no row %s in the report: %s", schedule.name, reason)
    return reason is None


def _can_run_at_levels(run: PreparedRun) -> bool:
    try:
        try_levels(run.subject.sampler, run.heldout_prompts.prompts, run.report_batch_size)
    except ModelError as error:
        _LOGGER.warning("no rows of uneven steps in the report: %s", error)
        return False
    return True


def _numbers(levels: tuple[int, ...]) -> str:
    return ",".join(map(str, levels))
