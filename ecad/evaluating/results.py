"""The content of an evaluation's results.json: what was compared, on what, and a row per contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ecad.evaluating.setup import PreparedEvaluation
from ecad.measuring.measurements import Outcome
from ecad.measuring.paper.rows import seconds_on_paper
from ecad.measuring.row_numbers import quality_of, row_of
from ecad.measuring.rows import Quality, Row
from ecad.measuring.timing import HOW_TIMED_AGAIN
from ecad.report.results import MetricColumn, Results
from ecad.sampling.base import Job
from ecad.scoring import Scorer, SetScorer, metric_of
from ecad.scoring.videos import frames_note, sampled_frames

Distances = Mapping[str, Mapping[str, float]]  # metric of a whole set -> row -> its distance to the reference


def results_of(
    prepared: PreparedEvaluation,
    outcomes: Sequence[Outcome],
    distances: Distances,
    samples: Sequence[Job] = (),
) -> Results:
    """`samples` are the images that the folder keeps of each row."""
    metrics = _metrics(prepared)
    prompts = prepared.prompts.prompts
    paper_s = seconds_on_paper(prepared.contenders, prepared.subject.workload, prepared.settings.batch_size)
    return Results(
        about={
            **_about(prepared, outcomes[0]),
            "samples": [{"prompt": prompts[job.prompt_index], "seed": job.seed} for job in samples],
        },
        metrics=metrics,
        notes=_notes(prepared),
        rows=[
            replace(_row(prepared, metrics, outcome, outcomes[0], distances), paper_s=seconds)
            for outcome, seconds in zip(outcomes, paper_s, strict=True)
        ],
    )


def _about(prepared: PreparedEvaluation, uncached: Outcome) -> dict[str, Any]:
    settings, generation = prepared.settings, prepared.subject.settings
    true_cfg = {} if generation.true_cfg_scale == 1.0 else {"true_cfg_scale": generation.true_cfg_scale}
    if generation.guidance_scale_2 is not None:
        true_cfg["guidance_scale_2"] = generation.guidance_scale_2
    frames = {"frames": frames_note(generation.num_frames)} if prepared.subject.makes_videos else {}
    return {
        "model": prepared.subject.source.name,
        "steps": generation.steps,
        "guidance_scale": generation.guidance_scale,
        **true_cfg,
        "height": generation.height,
        "width": generation.width,
        **frames,
        "prompts": {
            "name": prepared.prompts.name,
            "format": prepared.prompts.format,
            "count": len(prepared.prompts),
            "sha256": prepared.prompts.sha256,
            "left_out": dict(prepared.prompts.left_out),
            "cut_by_the_text_encoder": prepared.prompts_cut,
        },
        "images_per_row": settings.seeds * len(prepared.prompts),
        "seeds_per_prompt": settings.seeds,
        "first_seed": settings.first_seed,
        "reference": settings.reference,
        "interval": "95 % percentile bootstrap over prompts; differences to uncached are paired by prompt and seed",
        "latency": {
            "unit": "seconds per image: denoising and VAE decode, text encoding excluded",
            "batch_size": settings.batch_size,
            "batches": len(uncached.seconds_per_image),
            "how": HOW_TIMED_AGAIN,
        },
        "environment": prepared.environment,
    }


def _metrics(prepared: PreparedEvaluation) -> list[MetricColumn]:
    """In the user's order."""
    columns = [
        *(_column(each, "uncached" if each.needs_reference else None) for each in prepared.scorers),
        *(_column(each, "set") for each in prepared.set_scorers),
    ]
    order = {name: place for place, name in enumerate(prepared.settings.metrics)}
    return sorted(columns, key=lambda column: order.get(column.name, len(order)))


def _column(scorer: Scorer | SetScorer, reference: Any) -> MetricColumn:
    metric = metric_of(scorer.name)  # a weighted sum has no record
    decimals = {} if metric is None else {"decimals": metric.decimals}
    return MetricColumn(scorer.name, scorer.higher_is_better, reference, **decimals)


def _row(
    prepared: PreparedEvaluation,
    metrics: Sequence[MetricColumn],
    outcome: Outcome,
    uncached: Outcome,
    distances: Distances,
) -> Row:
    qualities: dict[str, Quality] = {}
    for metric in metrics:
        name = metric.name
        if metric.reference == "set":
            value = distances[name][outcome.contender.name]
            difference = value - distances[name][uncached.contender.name]
            qualities[name] = Quality(value, difference=difference)
        elif name not in outcome.scores_by or (metric.reference == "uncached" and outcome is uncached):
            continue  # fidelity to itself, or of another model, says nothing
        else:
            baseline = uncached.scores_by[name] if metric.has_difference else None
            qualities[name] = quality_of(outcome.scores_by[name], baseline, prepared.settings.seeds)
    return row_of(outcome, uncached, prepared.subject.workload, qualities)


def _notes(prepared: PreparedEvaluation) -> list[str]:
    """What a reader of the table has to know."""
    notes = []
    if prepared.subject.makes_videos:
        frames = ", ".join(map(str, sampled_frames(prepared.subject.settings.num_frames)))
        notes.append(
            f"metrics of single images are means over the frames {frames} of each video; those against uncached over "
            "all frames"
        )
    searched = [
        contender.name
        for contender in prepared.contenders
        if contender.schedule is not None
        and _searched_on(contender.schedule.provenance) == prepared.prompts.name
    ]
    if searched:
        notes.append(
            f"{', '.join(searched)}: found by a search on these prompts ({prepared.prompts.name}), so their quality "
            "here is flattered"
        )
    if prepared.prompts_cut:
        notes.append(
            f"{prepared.prompts_cut} of {len(prepared.prompts)} prompts are longer than the "
            f"{prepared.subject.settings.max_sequence_length} tokens that the model reads: their ends have no effect"
        )
    if any(contender.pipeline is not None for contender in prepared.contenders):
        notes.append(
            "baselines are other models, run through their own pipeline with its defaults: no fidelity to uncached; "
            "their MACs are counted by torch in all their denoising networks"
        )
    return notes


def _searched_on(provenance: Mapping[str, Any]) -> str | None:
    search = provenance.get("search")
    prompts = search.get("prompts") if isinstance(search, Mapping) else None
    return prompts if isinstance(prompts, str) else None
