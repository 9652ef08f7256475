"""Between search and report: the best schedules of the search meet more prompts, and those decide on the front.

Of many schedules that were scored on a few prompts, the ones that look best were partly lucky. A second look on other
prompts of the same set sorts them out, in rounds: in each one half of the schedules meet twice the prompts. It still
leaves the held-out prompts untouched.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from ecad.execution import Executor
from ecad.genetic import nondominated
from ecad.genetic.front import AIMED_SHARES, USEFUL_SHARE, FrontTracker
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.history import evaluate_in_order
from ecad.searching.luck import by_prompt, is_worse_by
from ecad.searching.setup import PreparedRun
from ecad.storage import EvaluationLog, RunFolder

# How many schedules get a look on more prompts, per round; more, if the front has more.
FINALISTS = (48, 24, 12)

# What is simple (`ecad.searching.simple`) stays in play unless it is worse by so many standard errors.
_CLEARLY_WORSE = 2.0

_LOGGER = logging.getLogger(__name__)

ExecutorMaker = Callable[[ModelEvaluator], AbstractContextManager[Executor]]
OnImages = Callable[[int, int, Sequence[WorkerReport]], None]


def select(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    simple: Set[str],
    folder: RunFolder,
    executor_on: ExecutorMaker,
    on_images: OnImages = lambda done, total, workers: None,
) -> tuple[list[Candidate], dict[str, Evaluation]]:
    """The candidates among which the front is chosen, and their evaluations by key.

    Without selection prompts these are all candidates, as the search saw them. Otherwise the finalists of the last
    round, with the scores on the search's prompts followed by those on the selection's; a finalist whose evaluation
    failed is dropped. Evaluations are logged in `selection-1.jsonl` and so on, so a run that is stopped here continues
    here. `executor_on` makes the executor that evaluates with an evaluator; `on_images` is called with the
    number of images of the round that are done, their total and the workers.
    """
    searched = folder.log
    distinct = {candidate.key: candidate for candidate in reversed(candidates)}  # the first of equal ones
    found = {key: searched[key] for key in distinct if math.isfinite(searched[key].quality)}
    if not run.selection_evaluators:
        return [candidate for candidate in candidates if candidate.key in found], found
    limits = _limits(found.values())
    uncached = Schedule.all_recompute(run.shape).digest()
    sound = [distinct[key] for key in found]
    for number, evaluator in enumerate(run.selection_evaluators):
        seen = {key: by_prompt(each, run.settings.seeds_per_prompt) for key, each in found.items()}
        chosen = finalists(sound, seen, FINALISTS[number], limits, simple, uncached)
        with EvaluationLog(folder.path / f"selection-{number + 1}.jsonl") as log:
            _evaluate(chosen, evaluator, log, executor_on, on_images)
            sound = [candidate for candidate in chosen if log[candidate.key].is_finite]
            for candidate in chosen:
                if candidate not in sound:
                    reason = log[candidate.key].failure
                    _LOGGER.warning("schedule %s is left out of the selection: %s", candidate.key, reason)
            found = {each.key: _joined(found[each.key], log[each.key]) for each in sound}
    return sound, found


def _evaluate(
    chosen: Sequence[Candidate],
    evaluator: ModelEvaluator,
    log: EvaluationLog,
    executor_on: ExecutorMaker,
    on_images: OnImages,
) -> None:
    """Of one round, what is not in its log yet."""
    images = evaluator.images_per_evaluation
    # The log may hold more: finalists of the same search when it had fewer generations.
    done = sum(candidate.key in log for candidate in chosen) * images
    on_images(done, len(chosen) * images, ())
    if done < len(chosen) * images:
        with executor_on(evaluator) as executor:
            for _ in evaluate_in_order(chosen, executor, log):
                done += images
                on_images(done, len(chosen) * images, executor.workers)
    log.release()


def _limits(evaluations: Iterable[Evaluation]) -> tuple[float, float]:
    """The qualities below which a schedule is of no use and above which it counts as lossless, in the search's eyes."""
    tracker = FrontTracker()
    for evaluation in evaluations:
        tracker.add(evaluation.cost, evaluation.quality)
    return tracker.quality_at(USEFUL_SHARE), tracker.quality_at(AIMED_SHARES[1])


def finalists(
    candidates: Sequence[Candidate],
    evaluations: Mapping[str, Evaluation],
    count: int,
    limits: tuple[float, float],
    simple: Set[str] = frozenset(),
    uncached: str = "",
) -> list[Candidate]:
    """The `count` candidates that are nearest to the front, and all that are on it if those are more.

    Near means: little quality below the best that costs no more. `limits` are the qualities below which a schedule is
    of no use, and is left out, and above which it counts as lossless: there differences are mostly luck, and of the
    others only what is `simple` (keys) gets a look, as a front must not lose to heuristics and masks. It is also
    chosen wherever it is not clearly worse, however many those are. The `uncached` one (a key) is chosen too, as losses
    are differences to it. In the order of generations.
    """
    useful, lossless = limits
    costs = [evaluations[candidate.key].cost for candidate in candidates]
    qualities = [evaluations[candidate.key].quality for candidate in candidates]
    on_front = nondominated(costs, qualities)
    chosen = {index for index in on_front if qualities[index] >= useful}
    distance: dict[int, float] = {}
    for index, (cost, quality) in enumerate(zip(costs, qualities, strict=True)):
        if candidates[index].key == uncached:
            chosen.add(index)
        if index in chosen or quality < useful:
            continue
        rival = max((each for each in on_front if costs[each] <= cost), key=qualities.__getitem__)
        if quality < lossless:
            distance[index] = min(qualities[rival], lossless) - quality
        if candidates[index].key in simple and not is_worse_by(
            evaluations[candidates[index].key], evaluations[candidates[rival].key], _CLEARLY_WORSE
        ):
            chosen.add(index)
    ranked = sorted(distance.keys() - chosen, key=lambda index: (distance[index], index))
    chosen.update(ranked[: max(0, count - len(chosen))])
    order = sorted(chosen, key=lambda index: (candidates[index].generation, candidates[index].index))
    return [candidates[index] for index in order]


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """One evaluation on the images of both."""
    scores = (*first.scores, *second.scores)
    return replace(first, scores=scores, quality=float(np.mean(scores)))
