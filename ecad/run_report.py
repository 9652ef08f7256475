"""After the search: the front as schedules, and its report on prompts and seeds that the search never saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

import ecad
from ecad.evaluation.comparison import Contender, Outcome, compare
from ecad.evaluation.cost import schedule_macs, uncached_macs
from ecad.evaluation.statistics import mean_interval, paired_interval
from ecad.records import Candidate
from ecad.run_setup import HELDOUT_FIRST_SEED, PreparedRun, environment
from ecad.schedule import Schedule
from ecad.search import hypervolume, nondominated
from ecad.search.seeding import baseline_heuristics
from ecad.storage import EvaluationLog

REPORT_FORMAT = 1

# Speedups in MACs at which the front is compared with the best heuristic.
_LEVELS = (1.5, 2.0, 3.0, 4.0, 5.0)

# A heuristic that misses a level by this little still counts there: fora:3 of 20 steps is just below 3x.
_LEVEL_TOLERANCE = 0.05


def front_schedules(
    run: PreparedRun, candidates: Sequence[Candidate], log: EvaluationLog
) -> dict[str, Schedule]:
    """File stem -> schedule, best quality first. Content depends on nothing but the settings and the results."""
    evaluations = [log[candidate.key] for candidate in candidates]
    front = nondominated([item.cost for item in evaluations], [item.quality for item in evaluations])
    schedules = {}
    for rank, index in enumerate(reversed(front), start=1):
        candidate, evaluation = candidates[index], evaluations[index]
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
    hypervolumes: Sequence[float],
    log: EvaluationLog,
    on_images: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The content of report.json: every row measured in one run, batch by batch in turn."""
    config = run.config
    outcomes = compare(
        _contenders(run, front),
        run.sampler,
        run.scorer,
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
            "generations": len(hypervolumes),
            "evaluations": len(log),
            "images_per_evaluation": run.evaluator.images_per_evaluation,
            "prompts": run.search_prompts.name,
            "hypervolume": list(hypervolumes),
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
        "hypervolume": _hypervolumes(rows),
        "comparisons": _comparisons(run, rows, outcomes),
        "rows": rows,
    }


def _contenders(run: PreparedRun, front: Mapping[str, Schedule]) -> list[Contender]:
    """Uncached first, then the front, the heuristics, and the untouched model with fewer steps."""
    steps = run.shape.steps
    fewer = sorted(
        {max(2, round(steps * share)) for share in (0.75, 0.5, 0.35, 0.25, 0.2)} - {steps}, reverse=True
    )
    return [
        Contender("uncached", "uncached", steps),
        *(Contender(stem, "front", steps, schedule) for stem, schedule in front.items()),
        *(
            Contender(schedule.name, "heuristic", steps, schedule)
            for schedule in baseline_heuristics(run.shape)
            if schedule.recompute_fraction() < 1.0
        ),
        *(Contender(f"steps:{count}", "fewer-steps", count) for count in fewer),
    ]


def _row(run: PreparedRun, outcome: Outcome, uncached: Outcome) -> dict[str, Any]:
    contender = outcome.contender
    per_prompt = run.config.heldout_seeds_per_prompt
    if contender.schedule is not None:
        macs = schedule_macs(contender.schedule, run.workload)
    else:
        macs = uncached_macs(contender.steps, run.workload)
    quality = mean_interval(outcome.scores, per_prompt)
    difference = paired_interval(outcome.scores, uncached.scores, per_prompt)
    ratios = uncached.seconds_per_image / outcome.seconds_per_image
    table = run.latency_table
    return {
        "name": contender.name,
        "kind": contender.kind,
        "steps": contender.steps,
        "macs": macs,
        "speedup_macs": uncached_macs(run.shape.steps, run.workload) / macs,
        "latency_s": float(np.median(outcome.seconds_per_image)),
        "latency_s_predicted": (
            table.predict(contender.schedule)
            if table is not None and contender.schedule is not None
            else None
        ),
        "speedup_latency": float(np.median(ratios)),
        "speedup_latency_range": [float(ratios.min()), float(ratios.max())],
        "quality": quality.mean,
        "quality_interval": [quality.low, quality.high],
        "difference": difference.mean,
        "difference_interval": [difference.low, difference.high],
    }


def _hypervolumes(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Held-out hypervolume in MACs of the front, the heuristics and fewer steps, with one common reference."""
    everything = [row["quality"] for row in rows]
    reference_quality = min(everything)
    result = {"reference_cost": 1.0, "reference_quality": reference_quality}
    for kind in ("front", "heuristic", "fewer-steps"):
        chosen = [row for row in rows if row["kind"] in (kind, "uncached")]
        costs = [1.0 / row["speedup_macs"] for row in chosen]
        result[kind] = hypervolume(costs, [row["quality"] for row in chosen], 1.0, reference_quality)
    return result


def _comparisons(
    run: PreparedRun, rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """At each speedup: the front's schedule against the best heuristic and the best fewer-steps row.

    The front's schedule is the one that is best in the search among those at least that fast (the choice does
    not look at held-out scores); its opponents are chosen by their held-out score, which favours them.
    """
    front = [index for index, row in enumerate(rows) if row["kind"] == "front"]
    result = []
    for level in _LEVELS:
        # The front is ordered by falling search quality: the first that is fast enough is the best.
        ours = next((index for index in front if rows[index]["speedup_macs"] >= level), None)
        for kind in ("heuristic", "fewer-steps"):
            rivals = [
                index
                for index, row in enumerate(rows)
                if row["kind"] == kind and row["speedup_macs"] >= level * (1 - _LEVEL_TOLERANCE)
            ]
            if ours is None or not rivals:
                continue
            rival = max(rivals, key=lambda index: float(rows[index]["quality"]))
            paired = paired_interval(
                outcomes[ours].scores, outcomes[rival].scores, run.config.heldout_seeds_per_prompt
            )
            result.append(
                {
                    "speedup_macs": level,
                    "against": kind,
                    "front": rows[ours]["name"],
                    "rival": rows[rival]["name"],
                    "rival_speedup_macs": rows[rival]["speedup_macs"],
                    "front_speedup_macs": rows[ours]["speedup_macs"],
                    "difference": paired.mean,
                    "difference_interval": [paired.low, paired.high],
                }
            )
    return result


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
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "diffusers")}
