"""The main path of a search: ask -> evaluate -> tell -> store. Start reading here.

`search` prepares a run (folder, model, prompts), `evolve` is the loop. The loop keeps no state of its own: the
algorithm is deterministic, and every evaluation is in the log before the algorithm is told. A stopped run is
continued by running the same loop again; what is in the log is not evaluated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ecad.errors import EcadError
from ecad.execution import ExecutionSettings, Executor
from ecad.genetic import initial_genomes
from ecad.genetic.base import SearchAlgorithm
from ecad.progress import Progress, WorkerReport
from ecad.schedule import Calibration, Schedule, ScheduleShape
from ecad.searching.history import (
    CostOf,
    History,
    Observer,
    evaluate_in_order,
    make_candidate,
    objectives,
    screening_of,
    search_progress,
    variation_of,
)
from ecad.searching.settings import ResolvedSearchSettings, SearchSettings
from ecad.storage import EvaluationLog, RunFolder, StatusFile


def search(
    settings: SearchSettings,
    out: Path,
    observer: Observer = lambda progress: None,
    *,
    extend: bool = False,
    execution: ExecutionSettings | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> RunFolder:
    """Run or continue a search in the folder `out`, up to its report on held-out prompts.

    A folder that holds a run with other settings is refused; `extend` allows more generations. `execution`
    says where evaluations run; by default in this process. `announce` gets lines for the user. Where the folder has a
    report of the front that is found, it is kept: to measure again would only change its times.
    """
    # Loading a model takes seconds and torch: only the searches themselves pay for that.
    from ecad.devices import same_threads_afterwards
    from ecad.searching.front import front_schedules
    from ecad.searching.report import heldout_report
    from ecad.searching.selection import select
    from ecad.searching.setup import prepare
    from ecad.searching.simple import simple_keys
    from ecad.searching.steady import evolve_steadily
    from ecad.searching.workers import Executors

    resolved = settings.resolved()
    execution = execution or ExecutionSettings()
    with (
        RunFolder(out) as folder,
        StatusFile(folder.path) as status,
        same_threads_afterwards(),
        ExitStack() as stack,
    ):
        run = prepare(folder, resolved, extend, execution, announce)
        images = run.evaluator.images_per_evaluation

        def observe(progress: Progress) -> None:
            progress = replace(progress, images_per_evaluation=images)
            status.update(progress, [(item.key, item.failure or "") for item in folder.log.failures])
            observer(progress)

        if execution.uses_ray:
            count = f"{execution.workers} " if execution.workers else ""
            announce(
                f"starting {count}workers, which takes a while; --workers none evaluates in this process"
            )
        loop = evolve_steadily if execution.asynchronous else evolve
        executors = stack.enter_context(Executors(run, execution, status.still_alive))
        with executors.on(run.evaluator) as executor:
            history = loop(
                resolved,
                run.shape,
                executor,
                folder.log,
                observe,
                run.calibration,
                run.evaluator.cost_of,
                run.start,
            )

        def on_images(phase: str, done: int, total: int, workers: Sequence[WorkerReport] = ()) -> None:
            last, counts = resolved.generations, (done, total)
            observe(search_progress(resolved, history, folder.log, last, 0, workers, phase, counts))

        simple = simple_keys(run, history.candidates)
        candidates, evaluations = select(
            run,
            history.candidates,
            simple,
            folder,
            executors.on,
            partial(on_images, "selection"),
        )
        front = front_schedules(run, candidates, evaluations, simple)
        if _is_reported(folder, front, history):
            announce(
                f"nothing new: the report is kept; remove {folder.path / 'report.json'} to have it measured again"
            )
            status.finish()
            return folder
        folder.write_front(front)
        folder.write_json("history.json", {"hypervolume": history.hypervolume})
        report = heldout_report(
            run,
            front,
            history.hypervolume,
            folder.log,
            # Rows share no steps.
            partial(executors.on, together=1) if execution.uses_ray else None,
            partial(on_images, "held-out"),
            folder,
        )
        folder.write_json("report.json", report.to_json())
        status.finish()
    return folder


def _is_reported(folder: RunFolder, front: Mapping[str, Schedule], history: History) -> bool:
    """Whether the folder's report is on this front, after as many generations; one that cannot be read is not."""
    if not (folder.path / "report.json").is_file():
        return False
    try:
        report, before = folder.read_report(), folder.read_front()
    except EcadError:
        return False
    return report.get("search", {}).get("hypervolume") == history.hypervolume and before == front


def evolve(
    settings: ResolvedSearchSettings,
    shape: ScheduleShape,
    executor: Executor,
    log: EvaluationLog,
    observer: Observer,
    calibration: Calibration | None = None,
    cost_of: CostOf | None = None,
    start: Sequence[Schedule] = (),
) -> History:
    """The search loop. `log` may hold the evaluations of an earlier, stopped run.

    A `calibration` gives seeds and, where also costs are known beforehand, what children are screened by. The schedules
    of `start` come first.
    """
    from ecad.genetic import GeneticSearch

    # pymoo seeds its own generator with the plain seed: the initial population needs another stream.
    rng = np.random.default_rng([settings.seed, 1])
    algorithm: SearchAlgorithm = GeneticSearch(
        initial_genomes(shape, settings.population, rng, settings.granularity, calibration, start),
        variation_of(settings, shape),
        seed=settings.seed,
        screening=screening_of(shape, calibration, cost_of),
    )
    history = History()
    for generation in range(1, settings.generations + 1):
        genomes = algorithm.ask()
        if len(genomes) == 0:
            break  # every schedule within reach has been evaluated
        candidates = [
            make_candidate(genome, shape, generation, index) for index, genome in enumerate(genomes)
        ]
        for candidate in evaluate_in_order(candidates, executor, log):
            if candidate is not candidates[-1]:  # the last one is reported below, with the new front
                evaluated = candidate.index + 1
                observer(search_progress(settings, history, log, generation, evaluated, executor.workers))
        evaluations = [log[candidate.key] for candidate in candidates]
        for evaluation in evaluations:
            history.front.add(evaluation.cost, evaluation.quality)
        limits = history.limits
        algorithm.tell(genomes, np.array([objectives(evaluation, limits) for evaluation in evaluations]))
        history.candidates.extend(candidates)
        history.hypervolume.append(history.front.hypervolume)
        evaluated = len(candidates)
        ended = search_progress(settings, history, log, generation, evaluated, executor.workers)
        observer(replace(ended, ends_generation=True))
    return history
