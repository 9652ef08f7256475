"""What a search knows about itself, and its small steps: candidates, their evaluation, objectives, progress."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ecad.arrays import BoolArray, FloatArray
from ecad.errors import RunError
from ecad.execution import Executor
from ecad.genetic.front import AIMED_SHARES, FrontTracker
from ecad.progress import Progress, WorkerReport
from ecad.records import Candidate, Evaluation
from ecad.schedule import (
    Calibration,
    Schedule,
    ScheduleShape,
    effective,
    from_genome,
    gene_layout,
    genome_to_hex,
)
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import EvaluationLog

if TYPE_CHECKING:
    from ecad.genetic.operators import Variation
    from ecad.genetic.screening import Screening

Observer = Callable[[Progress], None]
CostOf = Callable[[Schedule], float]  # relative to recomputing everything, known without an image


@dataclass
class History:
    """All candidates of a search in the order of its log, and what the front was worth over time."""

    candidates: list[Candidate] = field(default_factory=list)
    hypervolume: list[float] = field(default_factory=list)  # after each generation
    front: FrontTracker = field(default_factory=FrontTracker)

    @property
    def limits(self) -> tuple[float, float]:
        """The qualities between which the search tells schedules apart."""
        return self.front.quality_at(AIMED_SHARES[0]), self.front.quality_at(AIMED_SHARES[1])


def make_candidate(genome: BoolArray, shape: ScheduleShape, generation: int, index: int) -> Candidate:
    """The candidate that a genome, shape (genes,), stands for; its schedule is without dead compute."""
    schedule = effective(from_genome(genome, shape))
    return Candidate(schedule.digest(), schedule, genome_to_hex(genome), generation, index)


def variation_of(settings: ResolvedSearchSettings, shape: ScheduleShape) -> Variation:
    """How this search makes children of parents."""
    from ecad.genetic.operators import Variation  # pymoo: only searches pay for it

    return Variation(
        layout=gene_layout(shape),
        crossover_points=(settings.crossover_points_fewest, settings.crossover_points_most),
        crossover_probability=settings.crossover_probability,
        mutation_rate=settings.mutation_rate,
        granularity=settings.granularity,
    )


def screening_of(
    shape: ScheduleShape, calibration: Calibration | None, cost_of: CostOf | None
) -> Screening | None:
    """How this search chooses among children; None where it lacks what is needed for that."""
    from ecad.genetic.granularity import coarseness
    from ecad.genetic.screening import Screening

    if calibration is None or cost_of is None:
        return None

    def describe(genomes: BoolArray) -> tuple[FloatArray, FloatArray]:
        schedules = [effective(from_genome(genome, shape)) for genome in genomes]
        costs = [cost_objective(cost_of(schedule)) for schedule in schedules]
        errors = np.stack([calibration.errors_of(each) for each in schedules])
        # At each step, and summed over all of them.
        return np.array(costs), np.concatenate([errors, errors.sum(axis=1, keepdims=True)], axis=1).reshape(
            len(schedules), -1
        )

    layout = gene_layout(shape)
    return Screening(describe, lambda genomes: coarseness(genomes, layout))


def evaluate_in_order(
    candidates: Sequence[Candidate], executor: Executor, log: EvaluationLog, is_sound: bool = False
) -> Iterator[Candidate]:
    """Evaluate the candidates that are not in the log, and log them. Yields each one after it was logged.

    The log is written in the order of the candidates, whatever finishes first: its content depends on nothing
    but the settings. Results that are early are saved beside it until their turn comes. If none of the candidates
    can be scored, the fault is not theirs: RunError, and nothing is logged; unless the evaluation is known to be sound.
    """
    missing: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.key not in log:
            # Equal schedules (after dead compute is left out) are evaluated once, as the first of them.
            missing.setdefault(candidate.key, candidate)
    waiting = deque(missing.values())
    ready = {key: evaluation for key, evaluation in log.held.items() if key in missing}
    to_do = [candidate for candidate in missing.values() if candidate.key not in ready]
    is_sound = (
        is_sound or bool(ready) or any(log[each.key].was_scored for each in candidates if each.key in log)
    )

    def log_in_turn() -> Iterator[Candidate]:
        while is_sound and waiting and waiting[0].key in ready:
            first = waiting.popleft()
            log.append(first, ready.pop(first.key))
            yield first

    yield from log_in_turn()
    for candidate, evaluation in executor.run(to_do):
        if evaluation.was_scored and candidate.key != waiting[0].key:
            log.hold(candidate, evaluation)
        ready[candidate.key] = evaluation
        is_sound = is_sound or evaluation.was_scored
        yield from log_in_turn()
    log.release()
    if waiting:
        reason = ready[waiting[0].key].failure
        raise RunError(
            f"all {len(missing)} candidates to evaluate failed ({reason}): mend that and continue with --resume; "
            "earlier evaluations are in the log"
        )


def objectives(evaluation: Evaluation, limits: tuple[float, float]) -> tuple[float, float]:
    """Both to be minimised. The first is not finite for an evaluation that failed or is below the lower limit, which
    every other one then dominates; the second still says how bad it was.

    The logarithm spreads the population evenly over speedups (dominance is the same). All that is above the upper limit
    counts as equally good. Otherwise most of the population, and most of what is asked, would crowd where the images
    are ruined, or where nothing is lost and luck decides.
    """
    if not evaluation.is_finite:
        return math.nan, math.nan
    if evaluation.quality < limits[0]:
        return math.nan, -evaluation.quality
    return cost_objective(evaluation.cost), -min(evaluation.quality, limits[1])


def cost_objective(cost: float) -> float:
    """What is minimised in place of a cost: its logarithm."""
    return math.log(max(cost, 1e-9))


def search_progress(
    settings: ResolvedSearchSettings,
    history: History,
    log: EvaluationLog,
    generation: int,
    evaluated: int,
    workers: Sequence[WorkerReport] = (),
    phase: str = "search",
    images: tuple[int, int] = (0, 0),
) -> Progress:
    """The state of a search for a display; in the later phases with `images` (done, total)."""
    return Progress(
        phase=phase,
        generation=generation,
        generations=settings.generations,
        evaluated=evaluated,
        population=settings.population,
        evaluations=len(log),
        points=history.front.points,
        hypervolume=history.front.hypervolume,
        images=images,
        workers=tuple(workers),
        failures=len(log.failures),
    )
