"""Which of the evaluated schedules make up the front that a search hands over, with what they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import ecad
from ecad.genetic import nondominated
from ecad.genetic.front import USEFUL_SHARE, FrontTracker
from ecad.measuring.environment import versions
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule, effective
from ecad.searching.luck import is_surely_worse
from ecad.searching.setup import PreparedRun

# Neighbours on the front, the uncached model among them, are at least this far apart in cost: closer ones are the same
# choice to a user.
_COST_RATIO = 0.95

# A simple schedule is only given up for one at its cost that is better by so many standard errors.
_ERRORS = 1.0


def front_schedules(
    run: PreparedRun, candidates: Sequence[Candidate], evaluations: Mapping[str, Evaluation]
) -> dict[str, Schedule]:
    """File stem -> schedule, best quality first, thinned out to distinct costs and without those of no use.

    `evaluations` has all candidates' by key. Content depends on nothing but the settings and the results.
    """
    results = [evaluations[candidate.key] for candidate in candidates]
    tracker = FrontTracker()
    for item in results:
        tracker.add(item.cost, item.quality)
    given = {effective(schedule).digest() for schedule in run.start}
    simple = {
        index for index, each in enumerate(candidates) if each.generation == 1 and each.key not in given
    }
    members = front_members(results, simple)
    kept: list[int] = []
    for index in members:
        # After a selection, those of no use are no candidates any more.
        if not run.selection_evaluators and results[index].quality < tracker.quality_at(USEFUL_SHARE):
            break
        neighbour = results[kept[-1]].cost if kept else 1.0
        if results[index].cost <= _COST_RATIO * neighbour:
            kept.append(index)
    kept = kept or members[:1]
    schedules = {}
    for rank, index in enumerate(kept, start=1):
        candidate, evaluation = candidates[index], results[index]
        speedup = 1.0 / evaluation.cost
        schedules[f"{rank:02d}-{speedup:.2f}x"] = candidate.schedule.replace(
            name=f"{run.subject.source.name}-{speedup:.2f}x",
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


def front_members(results: Sequence[Evaluation], simple: Set[int]) -> list[int]:
    """Indices of the front, best quality first, in which what is simple is preferred to what may only be lucky.

    The best of a search's many schedules were partly lucky, on however many images; the few that are `simple` (the
    first generation's heuristics and masks) were not chosen by their scores. So one of them that is best among its kind
    stays, unless what beats it does so by `_ERRORS` standard errors of their paired difference, or is as good and
    costs `_COST_RATIO` as much.
    """
    costs = [item.cost for item in results]
    qualities = [item.quality for item in results]
    front = set(nondominated(costs, qualities))
    of_simple = sorted(simple)
    best_simple = nondominated([costs[i] for i in of_simple], [qualities[i] for i in of_simple])
    for index in (of_simple[place] for place in best_simple):
        better = [
            each for each in front if costs[each] <= costs[index] and qualities[each] >= qualities[index]
        ]
        if index in front or any(
            costs[each] <= _COST_RATIO * costs[index]
            or is_surely_worse(results[index], results[each], _ERRORS)
            for each in better
        ):
            continue
        front.difference_update(better)
        front.add(index)
    return sorted(front, key=lambda index: costs[index], reverse=True)


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
