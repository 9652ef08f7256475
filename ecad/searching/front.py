"""Which of the evaluated schedules make up the front that a search hands over, with what they come from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import ecad
from ecad.genetic import nondominated
from ecad.genetic.front import USEFUL_SHARE, FrontTracker
from ecad.measuring.environment import versions
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule
from ecad.searching.luck import by_prompt, is_worse_by, probable_change
from ecad.searching.setup import PreparedRun

# Neighbours on the front, the uncached model among them, are at least this far apart in cost (but for round speedups):
# closer ones are the same choice to a user. Where losses grow fast a wide gap costs more than luck does.
_NEXT = 0.98

# What people ask for. One that is so fast and one that just misses it are not the same choice.
ROUND_SPEEDUPS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)

# A simple schedule is given up only for one that costs so much less, or is better by so many standard errors.
_CHEAPER, _ERRORS = 0.95, 1.0

# Schedules are compared by what they probably lose, and so many standard deviations of that.
_DOUBT = 1.0


def front_schedules(
    run: PreparedRun,
    candidates: Sequence[Candidate],
    evaluations: Mapping[str, Evaluation],
    simple: Set[str] = frozenset(),
) -> dict[str, Schedule]:
    """File stem -> schedule, dearest first, thinned out to distinct costs and without those of no use.

    `evaluations` has all candidates' by key, `simple` the keys of those that were not chosen by their scores. Content
    depends on nothing but the settings and the results.
    """
    results = [evaluations[candidate.key] for candidate in candidates]
    useful = -math.inf
    if not run.selection_evaluators:  # after a selection, those of no use are no candidates any more
        tracker = FrontTracker()
        for item in results:
            tracker.add(item.cost, item.quality)
        useful = tracker.quality_at(USEFUL_SHARE)
    is_simple = {index for index, each in enumerate(candidates) if each.key in simple}
    seeds = run.settings.seeds_per_prompt
    uncached = evaluations.get(Schedule.all_recompute(run.shape).digest())
    kept = chosen_front(
        [by_prompt(each, seeds) for each in results],
        is_simple,
        useful,
        None if uncached is None else by_prompt(uncached, seeds),
    )
    schedules = {}
    for rank, index in enumerate(kept, start=1):
        candidate, evaluation = candidates[index], results[index]
        speedup = _speedup_name(evaluation.cost)
        schedules[f"{rank:02d}-{speedup}"] = candidate.schedule.replace(
            name=f"{run.subject.source.name}-{speedup}",
            model=_model_signature(run),
            provenance={
                "run": run_id(run),
                "generation": candidate.generation,
                "index": candidate.index,
                "search": {
                    "cost": run.settings.cost,
                    "relative_cost": evaluation.cost,
                    "macs": evaluation.macs,
                    "latency_s": evaluation.latency_s,
                    run.scorer.name: evaluation.quality,
                    "prompts": run.search_prompts.name,
                    "images": len(evaluation.scores),
                    **({"summed_runs": True} if run.settings.summed_runs else {}),
                },
                "versions": {"ecad": ecad.__version__, **versions("torch", "diffusers")},
            },
        )
    return schedules


def chosen_front(
    results: Sequence[Evaluation],
    simple: Set[int],
    useful: float = -math.inf,
    uncached: Evaluation | None = None,
) -> list[int]:
    """Indices of the front's schedules, dearest and best first: none is below `useful`, and neighbours are `_NEXT`
    apart, unless only the cheaper one has one of `ROUND_SPEEDUPS`.

    Quality is what probably remains of the `uncached` model's, where that is known (`probable_change`). Where next to
    nothing is lost, the mean of a cheaper schedule is often the higher one by luck. But it differs more from image to
    image, and that tells.

    What is simple is preferred to what may only be lucky. The best of a search's many schedules were partly lucky, on
    however many images; the few that are `simple` (indices) were not chosen by their scores. So one of them that is the
    best of its kind stands in for what beats it at nearly its cost, unless something beats it by `_ERRORS` standard
    errors of the paired difference, or is as good at `_CHEAPER` of its cost.
    """
    costs = [item.cost for item in results]
    means = [item.quality for item in results]
    qualities = means if uncached is None else [probable_change(item, uncached, _DOUBT) for item in results]
    # What is of no use hides nothing.
    front = nondominated(
        costs, [each if mean >= useful else math.nan for each, mean in zip(qualities, means, strict=True)]
    )
    front = front[::-1] or nondominated(costs, qualities)[::-1]

    def is_beaten(index: int) -> bool:
        return any(
            costs[other] <= _CHEAPER * costs[index] or is_worse_by(results[index], results[other], _ERRORS)
            for other in front
            if costs[other] <= costs[index] and qualities[other] >= qualities[index]
        )

    of_simple = sorted(simple)
    best_simple = nondominated([costs[each] for each in of_simple], [qualities[each] for each in of_simple])
    stand_ins = [
        index
        for index in (of_simple[place] for place in best_simple)
        if means[index] >= useful and not is_beaten(index)
    ]
    kept: list[int] = []
    for index in front:
        dearer = costs[kept[-1]] if kept else 1.0
        round_costs = _round_costs(costs[index], dearer)
        most = max([_NEXT * dearer, *round_costs])
        if means[index] < useful or costs[index] > most:
            continue
        fitting = [
            each
            for each in stand_ins
            if costs[index] <= costs[each] <= min([most, *round_costs])
            and qualities[each] <= qualities[index]
        ]
        kept.append(index if index in simple else max(fitting, key=qualities.__getitem__, default=index))
    return kept or front[:1]


def _speedup_name(cost: float) -> str:
    """Rounded down: what just misses a round speedup is not called by it."""
    return f"{math.floor(100.0 / cost + 1e-6) / 100.0:.2f}x"


def _round_costs(cost: float, dearer: float) -> list[float]:
    """Those of round speedups that a schedule of the one cost has and one of the other has not."""
    # As many steps fewer are as many times less, but for the last bit of a quotient.
    asked = [(1.0 + 1e-9) / speedup for speedup in ROUND_SPEEDUPS]
    return [each for each in asked if cost <= each < dearer]


def _model_signature(run: PreparedRun) -> dict[str, Any]:
    settings = run.subject.settings
    return {
        "name": run.subject.source.name,
        "height": settings.height,
        "width": settings.width,
        **({"num_frames": settings.num_frames} if settings.num_frames > 1 else {}),
        "guidance_scale": settings.guidance_scale,
        **({} if settings.guidance_scale_2 is None else {"guidance_scale_2": settings.guidance_scale_2}),
        **({} if settings.true_cfg_scale == 1.0 else {"true_cfg_scale": settings.true_cfg_scale}),
        "scheduler": type(run.subject.model.pipe.scheduler).__name__,
    }


def run_id(run: PreparedRun) -> str:
    """A short name of the run that depends on its settings and prompts only, not on folder or time."""
    identity = {**run.settings.identity(), "prompts_sha256": run.search_prompts.sha256}
    if run.selection_prompts is not None:
        identity["selection_sha256"] = run.selection_prompts.sha256
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
