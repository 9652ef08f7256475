"""The main path of a search: ask -> evaluate -> tell -> store. Start reading here.

`search` prepares a run (folder, model, prompts), `evolve` is the loop. The loop keeps no state of its own: the
algorithm is deterministic, and every evaluation is in the log before the algorithm is told. A stopped run is
continued by running the same loop again; what is in the log is not evaluated twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ecad.config import SearchConfig
from ecad.execution import Executor, LocalExecutor
from ecad.records import Candidate, Evaluation, Progress
from ecad.schedule import BoolArray, ScheduleShape, effective, from_genome, gene_layout, genome_to_hex
from ecad.search import initial_genomes
from ecad.search.front import AIMED_SHARES, FrontTracker
from ecad.storage import EvaluationLog, RunFolder

Observer = Callable[[Progress], None]


@dataclass
class History:
    """All candidates of a search in the order they were asked for, and what the front was worth over time."""

    candidates: list[Candidate] = field(default_factory=list)
    hypervolume: list[float] = field(default_factory=list)  # after each generation
    front: FrontTracker = field(default_factory=FrontTracker)


def search(
    config: SearchConfig, out: Path, observer: Observer = lambda progress: None, *, extend: bool = False
) -> RunFolder:
    """Run or continue a search in the folder `out`, up to its report on held-out prompts.

    A folder that holds a run with other settings is refused; `extend` allows more generations.
    """
    # Loading a model takes seconds and torch: only the searches themselves pay for that.
    from ecad.run_report import front_schedules, heldout_report
    from ecad.run_selection import select
    from ecad.run_setup import prepare

    config = config.resolved()
    with RunFolder(out) as folder:
        run = prepare(folder, config, extend)
        images = run.evaluator.images_per_evaluation
        history = evolve(
            config,
            run.shape,
            LocalExecutor(run.evaluator),
            folder.log,
            lambda progress: observer(replace(progress, images_per_evaluation=images)),
        )

        def on_images(phase: str, done: int, total: int) -> None:
            observer(_progress(config, history, folder.log, config.generations, 0, phase, (done, total)))

        candidates, evaluations = select(run, history.candidates, folder, partial(on_images, "selection"))
        front = front_schedules(run, candidates, evaluations)
        folder.write_front(front)
        folder.write_json("history.json", {"hypervolume": history.hypervolume})
        folder.write_json(
            "report.json",
            heldout_report(run, front, history.hypervolume, folder.log, partial(on_images, "held-out")),
        )
    return folder


def evolve(
    config: SearchConfig, shape: ScheduleShape, executor: Executor, log: EvaluationLog, observer: Observer
) -> History:
    """The search loop. `config` is resolved; `log` may hold the evaluations of an earlier, stopped run."""
    from ecad.search import GeneticSearch

    # pymoo seeds its own generator with the plain seed: the initial population needs another stream.
    rng = np.random.default_rng([config.seed, 1])
    algorithm = GeneticSearch(
        initial_genomes(shape, config.population or 0, rng, config.mutation_rate),
        seed=config.seed,
        layout=gene_layout(shape),
        crossover_points=(config.crossover_points_fewest, config.crossover_points_most),
        crossover_probability=config.crossover_probability,
        mutation_rate=config.mutation_rate,
    )
    history = History()
    for generation in range(1, config.generations + 1):
        genomes = algorithm.ask()
        if len(genomes) == 0:
            break  # every schedule within reach has been evaluated
        candidates = [_candidate(genome, shape, generation, index) for index, genome in enumerate(genomes)]
        # Equal schedules (after dead compute is left out) are evaluated once, also within a generation.
        missing = {candidate.key: candidate for candidate in candidates if candidate.key not in log}
        for candidate, evaluation in zip(missing.values(), executor.run([*missing.values()]), strict=True):
            log.append(candidate, evaluation)
            if candidate is not candidates[-1]:  # the last one is reported below, with the new front
                observer(_progress(config, history, log, generation, candidate.index + 1))
        evaluations = [log[candidate.key] for candidate in candidates]
        for evaluation in evaluations:
            history.front.add(evaluation.cost, evaluation.quality)
        limits = (history.front.quality_at(AIMED_SHARES[0]), history.front.quality_at(AIMED_SHARES[1]))
        algorithm.tell(np.array([_objectives(evaluation, limits) for evaluation in evaluations]))
        history.candidates.extend(candidates)
        history.hypervolume.append(history.front.hypervolume)
        observer(_progress(config, history, log, generation, len(candidates)))
    return history


def _candidate(genome: BoolArray, shape: ScheduleShape, generation: int, index: int) -> Candidate:
    schedule = effective(from_genome(genome, shape))
    return Candidate(schedule.digest(), schedule, genome_to_hex(genome), generation, index)


def _objectives(evaluation: Evaluation, limits: tuple[float, float]) -> tuple[float, float]:
    """Both to be minimised.

    The logarithm spreads the population evenly over speedups (dominance is the same). All that is below the
    lower limit counts as equally bad, and all above the upper one as equally good: otherwise most of the
    population would crowd where the images are ruined, or where nothing is lost and luck decides.
    """
    quality = min(max(evaluation.quality, limits[0]), limits[1])
    return math.log(max(evaluation.cost, 1e-9)), -quality if math.isfinite(evaluation.quality) else math.nan


def _progress(
    config: SearchConfig,
    history: History,
    log: EvaluationLog,
    generation: int,
    evaluated: int,
    phase: str = "search",
    images: tuple[int, int] = (0, 0),
) -> Progress:
    return Progress(
        phase=phase,
        generation=generation,
        generations=config.generations,
        evaluated=evaluated,
        population=config.population or 0,
        evaluations=len(log),
        points=history.front.points,
        hypervolume=history.front.hypervolume,
        images=images,
    )
