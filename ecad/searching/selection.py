"""Between search and report: the best schedules of the search meet more prompts, and those decide on the front.

Of many schedules that were scored on a few prompts, the ones that look best were partly lucky. A second look on other
prompts of the same set sorts them out, in rounds: fewer and fewer schedules meet twice the prompts. Before the last
one variants of the best join them (`ecad.searching.refinement`). It still leaves the held-out prompts untouched.
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
from ecad.genetic.front import AIMED_SHARES, USEFUL_SHARE, FrontTracker, spread_by_doubt, spread_out
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.history import evaluate_in_order
from ecad.searching.luck import by_prompt, errors_behind, probable_change
from ecad.searching.refinement import Variant, refined, replaced
from ecad.searching.setup import PreparedRun
from ecad.storage import EvaluationLog, RunFolder

# How many schedules get a look on more prompts, per round; one more, if the uncached one is not among them.
FINALISTS = (38, 30, 30)

# How many of them the front and what is simple may take at most; the others are just below the front.
_FRONT_SHARE, _SIMPLE_SHARE = 0.7, 0.2

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
    failed is dropped. Evaluations are logged in `selection-1.jsonl` and so on, those of variants (on all prompts before
    the last round) in `refinement.jsonl`, so a run that is stopped here continues here. `executor_on` makes the
    executor that evaluates with an evaluator; `on_images` is called with the number of images of the round that are
    done, their total and the workers.
    """
    searched = folder.log
    distinct = {candidate.key: candidate for candidate in reversed(candidates)}  # the first of equal ones
    found = {key: searched[key] for key in distinct if math.isfinite(searched[key].quality)}
    if not run.selection_evaluators:
        return [candidate for candidate in candidates if candidate.key in found], found
    limits, all_searched = _limits(found.values()), dict(found)
    uncached = Schedule.all_recompute(run.shape).digest()
    sound = [distinct[key] for key in found]
    variants: list[Variant] = []
    for number, evaluator in enumerate(run.selection_evaluators):
        if 0 < number == len(run.selection_evaluators) - 1 and run.refinement_evaluator is not None:
            variants = refined(run, candidates, all_searched, found, limits)
            made = [variant.candidate for variant in variants]
            if made:
                with EvaluationLog(folder.path / "refinement.jsonl") as log:
                    # Others have been scored: where none of these can be, that is their fault.
                    _evaluate(made, run.refinement_evaluator, log, executor_on, on_images, is_sound=True)
                    made = _without_failures(made, log)
                    found |= {candidate.key: log[candidate.key] for candidate in made}
            sound += made
        seen = {key: by_prompt(each, run.settings.seeds_per_prompt) for key, each in found.items()}
        left_out = replaced(variants, seen, limits[0])
        sound = [candidate for candidate in sound if candidate.key not in left_out]
        chosen = finalists(sound, seen, FINALISTS[number], limits, simple, uncached)
        with EvaluationLog(folder.path / f"selection-{number + 1}.jsonl") as log:
            _evaluate(chosen, evaluator, log, executor_on, on_images)
            sound = _without_failures(chosen, log)
            found = {each.key: _joined(found[each.key], log[each.key]) for each in sound}
    return sound, found


def _evaluate(
    chosen: Sequence[Candidate],
    evaluator: ModelEvaluator,
    log: EvaluationLog,
    executor_on: ExecutorMaker,
    on_images: OnImages,
    is_sound: bool = False,
) -> None:
    """Of one round, what is not in its log yet. `is_sound` is as in `evaluate_in_order`."""
    images = evaluator.images_per_evaluation
    # The log may hold more: finalists of the same search when it had fewer generations.
    done = sum(candidate.key in log for candidate in chosen) * images
    on_images(done, len(chosen) * images, ())
    if done < len(chosen) * images:
        with executor_on(evaluator) as executor:
            for _ in evaluate_in_order(chosen, executor, log, is_sound):
                done += images
                on_images(done, len(chosen) * images, executor.workers)
    log.release()


def _without_failures(chosen: Sequence[Candidate], log: EvaluationLog) -> list[Candidate]:
    """Those that could be evaluated; the log of the program says why the others are left out."""
    for candidate in chosen:
        if not log[candidate.key].is_finite:
            reason = log[candidate.key].failure
            _LOGGER.warning("schedule %s is left out of the selection: %s", candidate.key, reason)
    return [candidate for candidate in chosen if log[candidate.key].is_finite]


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
    """The `count` candidates that are most likely to be on the front, in the order of generations.

    Up to `_FRONT_SHARE` of them are on it as it looks now, evenly spread. Next come, up to `_SIMPLE_SHARE`, those that
    are `simple` (keys) and not clearly worse than the best that costs no more, spread over their costs, as a front must
    not lose to heuristics and masks; then those that are nearest to the front; then what is left of both. Near means:
    little quality below the best that costs no more. The `uncached` one (a key) is one more, as losses are differences
    to it (`probable_change`).

    `limits` are the qualities below which a schedule is of no use, and is left out, and above which it counts as
    lossless: there differences are mostly luck, and only the front and what is simple get a look.
    """
    useful, lossless = limits
    costs = [evaluations[candidate.key].cost for candidate in candidates]
    qualities = [evaluations[candidate.key].quality for candidate in candidates]
    reference = evaluations.get(uncached)
    changes = qualities
    if reference is not None:
        changes = [probable_change(evaluations[each.key], reference) for each in candidates]
    # What is of no use hides nothing.
    on_front = nondominated(
        costs,
        [
            change if quality >= useful else math.nan
            for change, quality in zip(changes, qualities, strict=True)
        ],
    )
    front = spread_out(on_front, costs, changes)
    near: dict[int, float] = {}
    simple_ones: dict[int, float] = {}  # by how many standard errors they are behind
    for index in set(range(len(candidates))) - set(front):
        if qualities[index] < useful:
            continue
        rival = max((each for each in on_front if costs[each] <= costs[index]), key=changes.__getitem__)
        if candidates[index].key in simple:
            behind = errors_behind(evaluations[candidates[index].key], evaluations[candidates[rival].key])
            if behind <= _CLEARLY_WORSE:
                simple_ones[index] = behind
        if qualities[index] < lossless:
            near[index] = changes[rival] - changes[index]
    # Where nothing is lost many are hardly in doubt, and would take all places.
    by_doubt = spread_by_doubt(simple_ones, costs, simple_ones)
    by_distance = sorted(near, key=near.__getitem__)
    of_front, of_simple = math.ceil(_FRONT_SHARE * count), math.ceil(_SIMPLE_SHARE * count)
    ranked = [
        *front[:of_front],
        *by_doubt[:of_simple],
        *by_distance,
        *front[of_front:],
        *by_doubt[of_simple:],
    ]
    chosen = set(list(dict.fromkeys(ranked))[:count])
    chosen.update(index for index, candidate in enumerate(candidates) if candidate.key == uncached)
    order = sorted(chosen, key=lambda index: (candidates[index].generation, candidates[index].index))
    return [candidates[index] for index in order]


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """One evaluation on the images of both."""
    scores = (*first.scores, *second.scores)
    return replace(first, scores=scores, quality=float(np.mean(scores)))
