"""After the search: the front as schedules, and its report on prompts and seeds that the search never saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ecad
from ecad.genetic import nondominated
from ecad.genetic.front import USEFUL_SHARE, FrontTracker
from ecad.measuring.environment import versions
from ecad.measuring.latency_table import LatencyTable
from ecad.measuring.macs import executed
from ecad.measuring.measurements import Outcome
from ecad.measuring.paper.devices import is_paper, paper_cost
from ecad.measuring.paper.rows import seconds_on_paper
from ecad.measuring.row_numbers import quality_of, row_of
from ecad.measuring.rows import Row
from ecad.measuring.timing import HOW_TIMED
from ecad.records import Candidate, Evaluation
from ecad.report.search_report import SearchReport
from ecad.sampling.generation import HELDOUT_FIRST_SEED
from ecad.schedule import Schedule
from ecad.scoring.videos import frames_note
from ecad.searching.contenders import contenders_of
from ecad.searching.rivals import comparisons, hypervolumes
from ecad.searching.rows import OnImages, RowExecutor, measured_rows
from ecad.searching.samples import SampleKeeper
from ecad.searching.setup import PreparedRun, environment_of
from ecad.storage import EvaluationLog, RunFolder

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
                "run": _run_id(run),
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


def heldout_report(
    run: PreparedRun,
    front: Mapping[str, Schedule],
    history: Sequence[float],
    log: EvaluationLog,
    executor_on: RowExecutor | None = None,
    on_images: OnImages = lambda done, total, workers: None,
    folder: RunFolder | None = None,
) -> SearchReport:
    """Every row measured in one run, batch by batch in turn; on workers all but what is timed.

    Small pictures of some images go into the `folder`.
    """
    settings = run.settings
    contenders = contenders_of(run, front)
    samples = None if folder is None else SampleKeeper(run, folder, contenders)
    outcomes = measured_rows(run, contenders, executor_on, on_images, *([] if samples is None else [samples]))
    on_paper = paper_cost(settings.cost) if is_paper(settings.cost) else None
    paper_s = seconds_on_paper(contenders, run.subject.workload, settings.batch_size, on_paper)
    rows = [
        replace(_row(run, outcome, outcomes[0]), paper_s=seconds)
        for outcome, seconds in zip(outcomes, paper_s, strict=True)
    ]
    return SearchReport(
        model=run.subject.source.name,
        steps=run.shape.steps,
        quality=run.scorer.name,
        search={
            "run": _run_id(run),
            "cost": settings.cost,
            "generations": len(history),
            "evaluations": len(log),
            **({"summed_runs": True} if settings.summed_runs else {}),
            "images_per_evaluation": run.evaluator.images_per_evaluation,
            "prompts": run.search_prompts.name,
            "hypervolume": list(history),
        },
        heldout={
            "prompts": run.heldout_prompts.name,
            "count": len(run.heldout_prompts),
            "sha256": run.heldout_prompts.sha256,
            "images": len(outcomes[0].scores),
            "first_seed": HELDOUT_FIRST_SEED,
            "interval": "95 % percentile bootstrap over prompts; differences are paired by prompt and seed",
            **({"frames": frames_note(run.subject.settings.num_frames)} if run.subject.makes_videos else {}),
            **({} if samples is None else {"samples": samples.to_json()}),
        },
        latency={
            "unit": "seconds per image: denoising and VAE decode, text encoding excluded",
            "batch_size": settings.batch_size,
            "batches": len(outcomes[0].seconds_per_image),
            "how": HOW_TIMED,
            "prediction_error": None
            if not isinstance(run.latency_table, LatencyTable)
            else run.latency_table.to_dict().get("error"),
        },
        environment=environment_of(run.subject),
        volumes=hypervolumes(settings, rows, outcomes),
        comparisons=comparisons(settings, rows, outcomes),
        rows=rows,
    )


def _row(run: PreparedRun, outcome: Outcome, uncached: Outcome) -> Row:
    seeds = run.settings.heldout_seeds_per_prompt
    metrics = {run.scorer.name: quality_of(outcome.scores, uncached.scores, seeds)}
    row = row_of(outcome, uncached, run.subject.workload, metrics)
    table, schedule = run.latency_table, outcome.contender.schedule
    if table is None or schedule is None:
        return row
    predicted = table.predict(executed(schedule, run.subject.workload))
    return replace(row, latency_s_predicted=predicted)


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


def _run_id(run: PreparedRun) -> str:
    """A short name of the run that depends on its settings and prompts only, not on folder or time."""
    identity = {**run.settings.identity(), "prompts_sha256": run.search_prompts.sha256}
    if run.selection_prompts is not None:
        identity["selection_sha256"] = run.selection_prompts.sha256
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
