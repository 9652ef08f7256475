"""After the search: the front as schedules, and its report on prompts and seeds that the search never saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import ecad
from ecad.evaluation.comparison import Contender, Outcome, compare
from ecad.evaluation.rows import cost_numbers, quality_numbers
from ecad.records import Candidate, Evaluation
from ecad.run_comparisons import comparisons, hypervolumes
from ecad.run_setup import HELDOUT_FIRST_SEED, PreparedRun, environment
from ecad.schedule import Schedule
from ecad.search import nondominated
from ecad.search.front import USEFUL_SHARE, FrontTracker
from ecad.search.seeding import baseline_heuristics
from ecad.storage import EvaluationLog
from ecad.storage.run_folder import REPORT_FORMAT

# Neighbours on the front, the uncached model among them, are at least this far apart in cost: closer ones are the same
# choice to a user.
_COST_RATIO = 0.95


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
    members = nondominated([item.cost for item in results], [item.quality for item in results])[::-1]
    kept: list[int] = []
    for index in members:
        # After a selection, those of no use are no candidates any more.
        if run.selection_evaluator is None and results[index].quality < tracker.quality_at(USEFUL_SHARE):
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
            name=f"{run.model.source.name}-{speedup:.2f}x",
            model=_model_signature(run),
            provenance={
                "run": _run_id(run),
                "generation": candidate.generation,
                "index": candidate.index,
                "search": {
                    "cost": run.config.cost,
                    "relative_cost": evaluation.cost,
                    "macs": evaluation.macs,
                    "latency_s": evaluation.latency_s,
                    run.scorer.name: evaluation.quality,
                    "prompts": run.search_prompts.name,
                    "images": len(evaluation.scores),
                },
                "versions": {"ecad": ecad.__version__, **_versions()},
            },
        )
    return schedules


def heldout_report(
    run: PreparedRun,
    front: Mapping[str, Schedule],
    history: Sequence[float],
    log: EvaluationLog,
    on_images: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The content of report.json: every row measured in one run, batch by batch in turn."""
    config = run.config
    outcomes = compare(
        _contenders(run, front),
        run.sampler,
        [run.scorer],
        run.heldout_prompts,
        seeds_per_prompt=config.heldout_seeds_per_prompt,
        first_seed=HELDOUT_FIRST_SEED,
        batch_size=config.batch_size or 1,
        on_images=on_images,
    )
    rows = [_row(run, outcome, outcomes[0]) for outcome in outcomes]
    return {
        "ecad_report": REPORT_FORMAT,
        "model": run.model.source.name,
        "steps": run.shape.steps,
        "quality": run.scorer.name,
        "search": {
            "run": _run_id(run),
            "cost": config.cost,
            "generations": len(history),
            "evaluations": len(log),
            "images_per_evaluation": run.evaluator.images_per_evaluation,
            "prompts": run.search_prompts.name,
            "hypervolume": list(history),
        },
        "heldout": {
            "prompts": run.heldout_prompts.name,
            "count": len(run.heldout_prompts),
            "sha256": run.heldout_prompts.sha256,
            "images": len(outcomes[0].scores),
            "first_seed": HELDOUT_FIRST_SEED,
            "interval": "95 % percentile bootstrap over prompts; differences are paired by prompt and seed",
        },
        "latency": {
            "unit": "seconds per image: denoising and VAE decode, text encoding excluded",
            "batch_size": config.batch_size,
            "batches": len(outcomes[0].seconds_per_image),
            "prediction_error": None
            if run.latency_table is None
            else run.latency_table.to_dict().get("error"),
        },
        "environment": environment(run.model),
        "hypervolume": hypervolumes(run.config, rows, outcomes),
        "comparisons": comparisons(run.config, rows, outcomes),
        "rows": rows,
    }


def _contenders(run: PreparedRun, front: Mapping[str, Schedule]) -> list[Contender]:
    """Uncached first, then the front, the heuristics, and the untouched model with fewer steps."""
    steps = run.shape.steps
    fewer = sorted(
        {max(2, round(steps * share)) for share in (0.65, 0.5, 0.4, 0.3, 0.25, 0.2)} - {steps}, reverse=True
    )
    return [
        Contender("uncached", "uncached", steps),
        *(Contender(stem, "front", steps, schedule) for stem, schedule in front.items()),
        *(Contender(schedule.name, "heuristic", steps, schedule) for schedule in _heuristics(run)),
        *(Contender(f"steps:{count}", "fewer-steps", count) for count in fewer),
    ]


def _heuristics(run: PreparedRun) -> list[Schedule]:
    return [item for item in baseline_heuristics(run.shape) if item.recompute_fraction() < 1.0]


def _row(run: PreparedRun, outcome: Outcome, uncached: Outcome) -> dict[str, Any]:
    contender = outcome.contender
    costs = cost_numbers(outcome, uncached, run.workload)
    table = run.latency_table
    return {
        "name": contender.name,
        "kind": contender.kind,
        "steps": contender.steps,
        "macs": costs["macs"],
        "speedup_macs": costs["speedup_macs"],
        "latency_s": costs["latency_s"],
        "latency_s_predicted": (
            table.predict(contender.schedule)
            if table is not None and contender.schedule is not None
            else None
        ),
        "speedup_latency": costs["speedup_latency"],
        "speedup_latency_range": costs["speedup_latency_range"],
        **quality_numbers(outcome.scores, uncached.scores, run.config.heldout_seeds_per_prompt),
    }


def _model_signature(run: PreparedRun) -> dict[str, Any]:
    settings = run.sampler.settings
    return {
        "name": run.model.source.name,
        "height": settings.height,
        "width": settings.width,
        "guidance_scale": settings.guidance_scale,
        "scheduler": type(run.model.pipe.scheduler).__name__,
    }


def _run_id(run: PreparedRun) -> str:
    """A short name of the run that depends on its settings and prompts only, not on folder or time."""
    identity = {**run.config.identity(), "prompts_sha256": run.search_prompts.sha256}
    if run.selection_prompts is not None:
        identity["selection_sha256"] = run.selection_prompts.sha256
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "diffusers")}
