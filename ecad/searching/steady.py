"""The search loop without generations: every result is used at once, no worker waits for the slowest candidate.

What is asked next depends on which results are there, so on timing: two runs differ, and a stopped run
continues as a valid search but not as the one it would have been. That is why `--asynchronous` is off by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ecad.errors import RunError
from ecad.execution import Executor
from ecad.genetic import initial_genomes
from ecad.genetic.base import SearchAlgorithm
from ecad.records import Candidate
from ecad.schedule import Calibration, Schedule, ScheduleShape, genome_from_hex, genome_length
from ecad.searching.history import (
    CostOf,
    History,
    Observer,
    make_candidate,
    objectives,
    screening_of,
    search_progress,
    variation_of,
)
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import EvaluationLog


def evolve_steadily(
    settings: ResolvedSearchSettings,
    shape: ScheduleShape,
    executor: Executor,
    log: EvaluationLog,
    observer: Observer,
    calibration: Calibration | None = None,
    cost_of: CostOf | None = None,
    start: Sequence[Schedule] = (),
) -> History:
    """Evaluate as many candidates as the generations would; see `ecad.searching.run.evolve`.

    A "generation" is here each time that as many results as the population has members have come in.
    """
    from ecad.genetic.steady_state import SteadyStateSearch

    population = settings.population
    budget = settings.generations * population
    initial_rng = np.random.default_rng([settings.seed, 1])
    algorithm: SearchAlgorithm = SteadyStateSearch(
        initial_genomes(shape, population, initial_rng, settings.granularity, calibration, start),
        variation_of(settings, shape),
        # Another stream after a resume: else the first questions of the earlier start would be asked again.
        rng=np.random.default_rng([settings.seed, 2, len(log)]),
        screening=screening_of(shape, calibration, cost_of),
    )
    history = History()

    def tell(candidate: Candidate) -> None:
        """Use a result that is in the log."""
        evaluation = log[candidate.key]
        history.front.add(evaluation.cost, evaluation.quality)
        genome = genome_from_hex(candidate.genome, genome_length(shape))
        algorithm.tell(genome[None], np.array([objectives(evaluation, history.limits)]))
        history.candidates.append(candidate)
        if len(history.candidates) % population == 0:
            history.hypervolume.append(history.front.hypervolume)

    for line in log.lines:
        genome = genome_from_hex(line.genome, genome_length(shape))
        tell(make_candidate(genome, shape, line.generation, line.index))

    def candidates() -> Iterator[Candidate]:
        asked = {candidate.key for candidate in history.candidates}
        while len(asked) < budget:
            genomes = algorithm.ask()
            if len(genomes) == 0:
                return  # every schedule within reach has been evaluated
            candidate = make_candidate(genomes[0], shape, *_place(len(asked), population))
            if candidate.key not in asked:
                asked.add(candidate.key)
                yield candidate

    failures_before_any_success = []
    is_sound = any(evaluation.was_scored for evaluation in log)
    for candidate, evaluation in executor.run(candidates()):
        is_sound = is_sound or evaluation.was_scored
        failures_before_any_success.append((candidate, evaluation))
        if not is_sound:
            if len(failures_before_any_success) >= population:
                raise RunError(
                    f"the first {population} candidates failed ({evaluation.failure}): mend that and start again"
                )
            continue
        for each, result in failures_before_any_success:
            log.append(each, result)
            tell(each)
            generation, index = _place(len(history.candidates) - 1, population)
            progress = search_progress(settings, history, log, generation, index + 1, executor.workers)
            observer(replace(progress, ends_generation=index + 1 == population))
        failures_before_any_success = []
    return history


def _place(number: int, population: int) -> tuple[int, int]:
    """(generation from 1, index from 0) of candidate `number`, from 0."""
    return number // population + 1, number % population
