"""After the search: the front as schedules, and its report on prompts and seeds that the search never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ecad.measuring.latency_table import LatencyTable
from ecad.measuring.macs import executed
from ecad.measuring.measurements import Outcome
from ecad.measuring.paper.devices import is_paper, paper_cost
from ecad.measuring.paper.rows import seconds_on_paper
from ecad.measuring.row_numbers import quality_of, row_of
from ecad.measuring.rows import Row
from ecad.measuring.timing import HOW_TIMED
from ecad.report.search_report import SearchReport
from ecad.sampling.generation import HELDOUT_FIRST_SEED
from ecad.schedule import Schedule
from ecad.scoring.videos import frames_note
from ecad.searching.contenders import contenders_of
from ecad.searching.front import run_id
from ecad.searching.rivals import comparisons, hypervolumes
from ecad.searching.rows import OnImages, RowExecutor, measured_rows
from ecad.searching.samples import SampleKeeper
from ecad.searching.setup import PreparedRun, environment_of
from ecad.storage import EvaluationLog, RunFolder


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
    paper_s = seconds_on_paper(contenders, run.subject.workload, run.report_batch_size, on_paper)
    rows = [
        replace(_row(run, outcome, outcomes[0]), paper_s=seconds)
        for outcome, seconds in zip(outcomes, paper_s, strict=True)
    ]
    return SearchReport(
        model=run.subject.source.name,
        steps=run.shape.steps,
        quality=run.scorer.name,
        search={
            "run": run_id(run),
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
            "batch_size": run.report_batch_size,
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
