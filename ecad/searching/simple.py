"""Which schedules of a search are simple: made without looking at scores, so that no luck is in theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ecad.genetic.granularity import coarsened
from ecad.genetic.seeding import baseline_heuristics, calibrated_schedules, uneven_masks
from ecad.records import Candidate
from ecad.schedule import Schedule, gene_layout, to_genome
from ecad.searching.history import make_candidate
from ecad.searching.setup import PreparedRun


def simple_keys(run: PreparedRun, candidates: Sequence[Candidate]) -> frozenset[str]:
    """The keys of the first generation's, without what `--start-from` brought and the search would not have made."""
    first = {candidate.key for candidate in candidates if candidate.generation == 1}
    if not run.start:
        return frozenset(first)
    made = [
        *baseline_heuristics(run.shape),
        *uneven_masks(run.shape),
        *calibrated_schedules(run.calibration, run.settings.population),
    ]
    return frozenset(first - (_keys(run, run.start) - _keys(run, made)))


def _keys(run: PreparedRun, schedules: Iterable[Schedule]) -> set[str]:
    """Of these schedules as the first generation may have them."""
    layout = gene_layout(run.shape)
    return {
        make_candidate(
            coarsened(to_genome(schedule)[None], layout, run.settings.granularity)[0], run.shape, 1, 0
        ).key
        for schedule in schedules
    }
