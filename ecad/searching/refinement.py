"""Before the last look: what costs a little less than the best schedules, where the front has gaps.

A front of a few hundred schedules has gaps, and who wants the best one below some cost gets one that is much cheaper
and worse. When the first rounds of the selection have shown which schedules are good and not only lucky, slightly
cheaper variants of these fill the gaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ecad.genetic import nondominated
from ecad.genetic.base import Objectives
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule, gene_layout, genome_length
from ecad.schedule.genome import genome_from_hex
from ecad.searching.history import cost_objective, make_candidate, screening_of
from ecad.searching.luck import by_prompt, probable_change
from ecad.searching.setup import PreparedRun

# At most so many schedules are made, where they matter most, and so many in one gap.
REFINED, _IN_A_GAP = 14, 3

# Costs are at least so far apart, in logarithms; where less than this share of the useful quality is at stake, nobody
# would notice.
_DISTANCE, _NOTICED = 0.02, 0.025


def refined(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    searched: Mapping[str, Evaluation],
    found: Mapping[str, Evaluation],
    limits: tuple[float, float],
) -> list[Candidate]:
    """Candidates that nobody asked for yet, cheaper variants of the front of `found`.

    `searched` has all evaluations of the search by key, `found` those that met more prompts, on all of theirs; `limits`
    are the qualities below which a schedule is of no use and above which it counts as lossless. Losses are differences
    to the uncached model on the same images. Deterministic.
    """
    from ecad.genetic.trimming import between, trimmed

    reference = Schedule.all_recompute(run.shape).digest()
    screening = screening_of(run.shape, run.calibration, run.evaluator.cost_of)
    if reference not in found or screening is None:
        return []
    most = searched[reference].quality - limits[0]
    seeds = run.settings.seeds_per_prompt

    def objectives(key: str) -> tuple[float, float]:
        known = found if key in found else searched
        if not known[key].is_finite:
            return math.nan, math.nan
        loss = -probable_change(by_prompt(known[key], seeds), by_prompt(known[reference], seeds))
        return cost_objective(known[key].cost) if loss <= most else math.nan, loss

    distinct = list({each.key: each for each in reversed(candidates) if each.key in searched}.values())[::-1]
    answers = np.array([objectives(candidate.key) for candidate in distinct])
    genomes = np.stack([genome_from_hex(each.genome, genome_length(run.shape)) for each in distinct])
    screening.tell(genomes, answers)
    of_found = [index for index, each in enumerate(distinct) if each.key in found]
    front = [
        of_found[place]
        for place in nondominated(answers[of_found, 0].tolist(), (-answers[of_found, 1]).tolist())
    ]
    known = {each.key for each in candidates}
    generation = max(each.generation for each in candidates) + 1
    layout, made = gene_layout(run.shape), list[Candidate]()
    for cheaper, dearer in _widest_gaps(front, answers, _NOTICED * most):
        low, high = answers[[cheaper, dearer], 0]
        targets = between(high, low, _DISTANCE, _IN_A_GAP)
        for genome in trimmed(genomes[dearer], layout, screening, targets, run.settings.granularity):
            candidate = make_candidate(genome, run.shape, generation, len(made))
            is_between = cost_objective(run.evaluator.cost_of(candidate.schedule)) > low
            if is_between and candidate.key not in known and len(made) < REFINED:
                known.add(candidate.key)
                made.append(candidate)
    return made


def _widest_gaps(front: Sequence[int], objectives: Objectives, noticed: float) -> list[tuple[int, int]]:
    """Neighbours of a front, the cheaper one first, whose losses differ by more than what is `noticed`.

    `front` has indices into `objectives`, cheapest first. First come those that take most from the front's hypervolume.
    """

    def differences(pair: tuple[int, int]) -> tuple[float, float]:
        cost, loss = objectives[pair[1]] - objectives[pair[0]]
        return float(cost), float(-loss)

    pairs = [pair for pair in pairwise(front) if differences(pair)[1] > noticed]
    return sorted(pairs, key=lambda pair: math.prod(differences(pair)), reverse=True)
