"""Which schedules of a search were made without looking at scores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ecad.genetic import initial_genomes
from ecad.genetic.granularity import GRANULARITIES, Granularity
from ecad.records import Candidate
from ecad.schedule import (
    Calibration,
    Schedule,
    ScheduleShape,
    from_genome,
    genome_length,
    heuristic,
    to_genome,
)
from ecad.searching import contenders
from ecad.searching.history import make_candidate
from ecad.searching.simple import simple_keys

SHAPE = ScheduleShape("pixart", 8, {"transformer_blocks": 2})
GAPS = np.abs(np.arange(8)[:, None] - np.arange(8)) * 0.1
CALIBRATION = Calibration(
    SHAPE, {"transformer_blocks": np.broadcast_to(GAPS[:, :, None, None], (8, 8, 2, 3)).copy()}, GAPS
)


def first_generation(start: list[Schedule], granularity: Granularity) -> tuple[Any, list[Candidate]]:
    settings = SimpleNamespace(granularity=granularity, population=16)
    run = SimpleNamespace(shape=SHAPE, start=start, calibration=CALIBRATION, settings=settings)
    genomes = initial_genomes(SHAPE, 16, np.random.default_rng(0), granularity, CALIBRATION, start)
    return run, [make_candidate(genome, SHAPE, 1, index) for index, genome in enumerate(genomes)]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_first_generation_without_what_was_given(granularity: Granularity) -> None:
    given = from_genome(np.random.default_rng(1).random(genome_length(SHAPE)) < 0.5, SHAPE)
    run, candidates = first_generation([given, heuristic("fora:2", SHAPE)], granularity)
    simple = simple_keys(run, candidates)
    # The search would have made fora:2 itself.
    assert simple == {candidate.key for candidate in candidates[1:]}


def test_without_a_start_all_of_it_and_nothing_later() -> None:
    run, candidates = first_generation([], "blocks")
    [*first, last] = candidates
    later = Candidate(last.key, last.schedule, last.genome, 2, 0)
    assert simple_keys(run, [*first, later]) == {candidate.key for candidate in first}


@pytest.mark.parametrize("steps", [12, 14, 20, 24, 28, 30, 36, 50])
@pytest.mark.parametrize("population", [40, 44])
def test_every_rival_that_is_a_schedule_is_in_the_first_generation(population: int, steps: int) -> None:
    """Or a front could lose to what the search never tried."""
    shape = ScheduleShape("pixart", steps, {"transformer_blocks": 3})
    gaps = np.abs(np.arange(steps)[:, None] - np.arange(steps)) * np.linspace(0.3, 0.1, steps)
    parts = np.broadcast_to(gaps[:, :, None, None], (steps, steps, 3, 3)).copy()
    calibration = Calibration(shape, {"transformer_blocks": parts}, gaps)
    run: Any = SimpleNamespace(
        shape=shape, calibration=calibration, free_bytes=None, subject=SimpleNamespace(sampler=None)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contenders, "_can_run_at_levels", lambda run: False)
        rivals = [each.schedule for each in contenders.contenders_of(run, {}) if each.schedule is not None]
    assert len(rivals) > 20
    genomes = initial_genomes(shape, population, np.random.default_rng(0), "blocks", calibration)
    first = {genome.tobytes() for genome in genomes}
    for rival in rivals:
        assert to_genome(rival).tobytes() in first, rival.name
