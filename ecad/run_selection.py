"""Between search and report: the best schedules of the search meet more prompts, and those decide on the front.

Of many schedules that were scored on a few prompts, the ones that look best were partly lucky. A second look on other
prompts of the same set sorts them out; it still leaves the held-out prompts untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ecad.records import Candidate, Evaluation
from ecad.run_setup import PreparedRun
from ecad.search import nondominated
from ecad.search.front import AIMED_SHARES, USEFUL_SHARE, FrontTracker
from ecad.storage import EvaluationLog, RunFolder

# How many schedules get the second look.
FINALISTS = 20


def select(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    folder: RunFolder,
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Candidate], dict[str, Evaluation]]:
    """The candidates among which the front is chosen, and their evaluations by key.

    Without selection prompts these are all candidates, as the search saw them. Otherwise the finalists, with the
    scores on the search's prompts followed by those on the selection's. Their evaluations are logged in
    `selection.jsonl`, so a run that is stopped here continues here.
    """
    log = folder.log
    distinct = {candidate.key: candidate for candidate in reversed(candidates)}  # the first of equal ones
    found = {key: log[key] for key in distinct if math.isfinite(log[key].quality)}
    if run.selection_evaluator is None:
        return [candidate for candidate in candidates if candidate.key in found], found
    chosen = finalists([distinct[key] for key in found], found, FINALISTS)
    images = run.selection_evaluator.images_per_evaluation
    evaluations = {}
    with EvaluationLog(folder.path / "selection.jsonl") as selection_log:
        for done, candidate in enumerate(chosen):
            on_images(done * images, len(chosen) * images)
            if candidate.key not in selection_log:
                selection_log.append(candidate, run.selection_evaluator.evaluate(candidate))
            evaluations[candidate.key] = _joined(found[candidate.key], selection_log[candidate.key])
    on_images(len(chosen) * images, len(chosen) * images)
    return [
        candidate for candidate in chosen if math.isfinite(evaluations[candidate.key].quality)
    ], evaluations


def finalists(
    candidates: Sequence[Candidate], evaluations: Mapping[str, Evaluation], count: int
) -> list[Candidate]:
    """The `count` candidates that are nearest to the front, and all that are on it if those are more.

    Near means: little quality below the best that costs no more. Above the quality that counts as lossless there are no
    differences, and schedules of no use are left out. In the order of generations.
    """
    tracker = FrontTracker()
    for evaluation in evaluations.values():
        tracker.add(evaluation.cost, evaluation.quality)
    lossless, useful = tracker.quality_at(AIMED_SHARES[1]), tracker.quality_at(USEFUL_SHARE)
    costs = [evaluations[candidate.key].cost for candidate in candidates]
    qualities = [min(evaluations[candidate.key].quality, lossless) for candidate in candidates]
    on_front = set(nondominated(costs, qualities))
    distance = {}
    for index, (cost, quality) in enumerate(zip(costs, qualities, strict=True)):
        # A lossless schedule that costs more than another one is of no interest, however near it is.
        if index in on_front or useful <= quality < lossless:
            best = max(qualities[each] for each in on_front if costs[each] <= cost)
            distance[index] = best - quality
    ranked = sorted(
        (index for index in distance if qualities[index] >= useful),
        key=lambda index: (distance[index], index),
    )
    wanted = max(count, sum(index in on_front for index in ranked))
    chosen = sorted(
        ranked[:wanted], key=lambda index: (candidates[index].generation, candidates[index].index)
    )
    return [candidates[index] for index in chosen]


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """One evaluation on the images of both."""
    scores = (*first.scores, *second.scores)
    return replace(first, scores=scores, quality=float(np.mean(scores)))
