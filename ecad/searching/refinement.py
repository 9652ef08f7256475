"""Before the last look: what costs a little less than the best schedules, where the front has gaps.

A front of a few hundred schedules has gaps, and who wants the best one below some cost gets one that is much cheaper
and worse. When the first rounds of the selection have shown which schedules are good and not only lucky, slightly
cheaper variants of these fill the gaps. And what is 1.99 times as fast is of no use to somebody who asks for twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ecad.genetic import nondominated
from ecad.genetic.base import Objectives
from ecad.genetic.trimming import between, trimmed
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule, gene_layout, genome_length
from ecad.schedule.genome import genome_from_hex
from ecad.searching.front import ROUND_SPEEDUPS
from ecad.searching.history import cost_objective, make_candidate, screening_of
from ecad.searching.luck import by_prompt, probable_change
from ecad.searching.setup import PreparedRun

# At most so many schedules are made, where they matter most, and so many in one gap.
REFINED, _IN_A_GAP = 14, 3

# Costs are at least so far apart, in logarithms; where less than this share of the useful quality is at stake, nobody
# would notice.
_DISTANCE, _NOTICED = 0.02, 0.025


class Variant(NamedTuple):
    """A cheaper schedule. `instead_of` is the key of the one that it comes from, if the two are next to each other and
    only this one has a speedup that people ask for; for that it may lose so much more as `tolerated`."""

    candidate: Candidate
    instead_of: str | None
    tolerated: float


def refined(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    searched: Mapping[str, Evaluation],
    found: Mapping[str, Evaluation],
    limits: tuple[float, float],
) -> list[Variant]:
    """What nobody asked for yet: cheaper variants of the front of `found`.

    `searched` has the evaluations of the search by key, `found` those that met more prompts, on all of theirs, failures
    in neither; `limits` are the qualities below which a schedule is of no use and above which it counts as lossless.
    Losses are differences to the uncached model on the same images. Deterministic.
    """
    reference = Schedule.all_recompute(run.shape).digest()
    screening = screening_of(run.shape, run.calibration, run.evaluator.cost_of)
    if reference not in found or screening is None:
        return []
    most = searched[reference].quality - limits[0]
    noticed = _NOTICED * most
    seeds = run.settings.seeds_per_prompt

    def answer(key: str) -> tuple[float, float]:
        """What is minimised, of one schedule: the more prompts it has met, the more is known."""
        evaluations = found if key in found else searched
        loss = -probable_change(by_prompt(evaluations[key], seeds), by_prompt(evaluations[reference], seeds))
        return cost_objective(evaluations[key].cost) if loss <= most else math.nan, loss

    # The best known ones last: of a long search the model takes the newest answers.
    of_search = {each.key: each for each in candidates if each.key in searched}
    distinct = sorted(of_search.values(), key=lambda each: each.key in found)
    answers = np.array([answer(candidate.key) for candidate in distinct])
    genomes = np.stack([genome_from_hex(each.genome, genome_length(run.shape)) for each in distinct])
    screening.tell(genomes, answers)
    of_found = [index for index, each in enumerate(distinct) if each.key in found]
    front = [
        of_found[place]
        for place in nondominated(answers[of_found, 0].tolist(), (-answers[of_found, 1]).tolist())
    ]
    asked = {each.key for each in candidates}
    generation = max(each.generation for each in candidates) + 1
    layout, made = gene_layout(run.shape), list[Variant]()
    for cheaper, dearer, targets in _gaps(front, answers, noticed):
        low, high = answers[[cheaper, dearer], 0]
        for genome in trimmed(genomes[dearer], layout, screening, targets, run.settings.granularity):
            candidate = make_candidate(genome, run.shape, generation, len(made))
            cost = cost_objective(run.evaluator.cost_of(candidate.schedule))
            if cost > low and candidate.key not in asked:
                asked.add(candidate.key)
                parent = distinct[dearer].key if cost > high - _DISTANCE else None
                made.append(Variant(candidate, parent, noticed))
                if len(made) == REFINED:
                    return made
    return made


def replaced(variants: Sequence[Variant], found: Mapping[str, Evaluation], useful: float) -> frozenset[str]:
    """Keys of what variants stand in for, unless these lose more than is tolerated or are of no use."""
    return frozenset(
        parent
        for candidate, parent, tolerated in variants
        if parent is not None
        and candidate.key in found
        and found[candidate.key].quality >= max(useful, found[parent].quality - tolerated)
    )


def _gaps(front: Sequence[int], objectives: Objectives, noticed: float) -> list[tuple[int, int, list[float]]]:
    """Neighbours of a front, the cheaper one first, with the costs that are missing between them.

    `front` has indices into `objectives`, cheapest first. First come those that miss a speedup that people ask for by
    less than `_DISTANCE`, which the next one has by far more; then those that take most from the front's hypervolume
    and whose losses differ by more than what is `noticed`.
    """
    found = []
    for cheaper, dearer in pairwise(front):
        (low, worse), (high, better) = objectives[cheaper], objectives[dearer]
        missed = [-math.log(each) for each in ROUND_SPEEDUPS if 1e-9 < high + math.log(each) < _DISTANCE]
        missed = [each for each in missed if low < each - _DISTANCE]
        filling = between(high, low, _DISTANCE, _IN_A_GAP) if worse - better > noticed else []
        apart = [each for each in filling if all(abs(each - other) >= _DISTANCE for other in missed)]
        if missed or apart:
            order = bool(missed), (high - low) * (worse - better)
            found.append((order, (cheaper, dearer, sorted([*missed, *apart], reverse=True))))
    return [gap for _, gap in sorted(found, key=lambda each: each[0], reverse=True)]
