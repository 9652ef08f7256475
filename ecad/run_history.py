"""What a search knows about itself, and its small steps: candidates, objectives, progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ecad.config import SearchConfig
from ecad.records import Candidate, Evaluation, Progress, WorkerReport
from ecad.schedule import BoolArray, ScheduleShape, from_genome, genome_to_hex
from ecad.search.front import FrontTracker
from ecad.storage import EvaluationLog

Observer = Callable[[Progress], None]


@dataclass
class History:
    """All candidates of a search in the order of its log, and what the front was worth over time."""

    candidates: list[Candidate] = field(default_factory=list)
    hypervolume: list[float] = field(default_factory=list)  # after each generation
    front: FrontTracker = field(default_factory=FrontTracker)


def make_candidate(genome: BoolArray, shape: ScheduleShape, generation: int, index: int) -> Candidate:
    """The candidate that a genome, shape (genes,), stands for."""
    schedule = from_genome(genome, shape)
    return Candidate(schedule.digest(), schedule, genome_to_hex(genome), generation, index)


def objectives(evaluation: Evaluation, floor: float) -> tuple[float, float]:
    """Both to be minimised; not finite for a failed evaluation, which every other one then dominates.

    The logarithm spreads the population evenly over speedups (dominance is the same). All that is below the
    floor counts as equally bad: otherwise most of the population would crowd where the images are ruined.
    """
    if not evaluation.is_finite:
        return math.nan, math.nan
    return math.log(max(evaluation.cost, 1e-9)), -max(evaluation.quality, floor)


def search_progress(
    config: SearchConfig,
    history: History,
    log: EvaluationLog,
    generation: int,
    evaluated: int,
    workers: Sequence[WorkerReport] = (),
    images: tuple[int, int] = (0, 0),
) -> Progress:
    """The state of a search for a display; with `images` (done, total) that of its held-out report."""
    return Progress(
        phase="held-out" if images[1] else "search",
        generation=generation,
        generations=config.generations,
        evaluated=evaluated,
        population=config.population or 0,
        evaluations=len(log),
        points=history.front.points,
        hypervolume=history.front.hypervolume,
        images=images,
        workers=tuple(workers),
        failures=len(log.failures),
    )
