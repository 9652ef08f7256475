"""Between search and report: the best schedules of the search meet more prompts, and those decide on the front.

Of many schedules that were scored on a few prompts, the ones that look best were partly lucky. A second look on other
prompts of the same set sorts them out; it still leaves the held-out prompts untouched.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from ecad.execution import Executor
from ecad.genetic import nondominated
from ecad.genetic.front import AIMED_SHARES, USEFUL_SHARE, FrontTracker
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluation
from ecad.search.evaluator import ModelEvaluator
from ecad.search.history import evaluate_in_order
from ecad.search.setup import PreparedRun
from ecad.storage import EvaluationLog, RunFolder

# How many schedules get the second look; more, if the front has more.
FINALISTS = 20

_LOGGER = logging.getLogger(__name__)

ExecutorMaker = Callable[[ModelEvaluator], AbstractContextManager[Executor]]
OnImages = Callable[[int, int, Sequence[WorkerReport]], None]


def select(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    folder: RunFolder,
    executor_on: ExecutorMaker,
    on_images: OnImages = lambda done, total, workers: None,
) -> tuple[list[Candidate], dict[str, Evaluation]]:
    """The candidates among which the front is chosen, and their evaluations by key.

    Without selection prompts these are all candidates, as the search saw them. Otherwise the finalists, with the
    scores on the search's prompts followed by those on the selection's; a finalist whose evaluation failed is
    dropped. Their evaluations are logged in `selection.jsonl`, so a run that is stopped here continues here.
    `executor_on` makes the executor that evaluates with an evaluator; `on_images` is called with the number of
    images done, their total and the workers.
    """
    searched = folder.log
    distinct = {candidate.key: candidate for candidate in reversed(candidates)}  # the first of equal ones
    found = {key: searched[key] for key in distinct if math.isfinite(searched[key].quality)}
    if run.selection_evaluator is None:
        return [candidate for candidate in candidates if candidate.key in found], found
    chosen = finalists([distinct[key] for key in found], found, FINALISTS)
    images = run.selection_evaluator.images_per_evaluation
    with EvaluationLog(folder.path / "selection.jsonl") as log:
        # The log may hold more: finalists of the same search when it had fewer generations.
        done = sum(candidate.key in log for candidate in chosen) * images
        on_images(done, len(chosen) * images, ())
        if done < len(chosen) * images:
            with executor_on(run.selection_evaluator) as executor:
                for _ in evaluate_in_order(chosen, executor, log):
                    done += images
                    on_images(done, len(chosen) * images, executor.workers)
        log.release()
        sound = [candidate for candidate in chosen if log[candidate.key].is_finite]
        for candidate in chosen:
            if candidate not in sound:
                reason = log[candidate.key].failure
                _LOGGER.warning("schedule %s is left out of the selection: %s", candidate.key, reason)
        evaluations = {each.key: _joined(found[each.key], log[each.key]) for each in sound}
    return sound, evaluations


def finalists(
    candidates: Sequence[Candidate], evaluations: Mapping[str, Evaluation], count: int
) -> list[Candidate]:
    """The `count` candidates that are nearest to the front, and all that are on it if those are more.

    Near means: little quality below the best that costs no more. Above the quality that counts as lossless, differences
    are mostly luck: only the front's own members get a second look there. Schedules of no use are left out. In the
    order of generations.
    """
    tracker = FrontTracker()
    for evaluation in evaluations.values():
        tracker.add(evaluation.cost, evaluation.quality)
    lossless, useful = tracker.quality_at(AIMED_SHARES[1]), tracker.quality_at(USEFUL_SHARE)
    costs = [evaluations[candidate.key].cost for candidate in candidates]
    qualities = [evaluations[candidate.key].quality for candidate in candidates]
    on_front = set(nondominated(costs, qualities))
    distance = {index: 0.0 for index in on_front if qualities[index] >= useful}
    wanted = max(count, len(distance))
    for index, (cost, quality) in enumerate(zip(costs, qualities, strict=True)):
        if index not in on_front and useful <= quality < lossless:
            best = max(qualities[each] for each in on_front if costs[each] <= cost)
            distance[index] = min(best, lossless) - quality
    ranked = sorted(distance, key=lambda index: (index not in on_front, distance[index], index))
    chosen = sorted(
        ranked[:wanted], key=lambda index: (candidates[index].generation, candidates[index].index)
    )
    return [candidates[index] for index in chosen]


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """One evaluation on the images of both."""
    scores = (*first.scores, *second.scores)
    return replace(first, scores=scores, quality=float(np.mean(scores)))
