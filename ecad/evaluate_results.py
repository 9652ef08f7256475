"""The content of an evaluation's results.json: what was compared, on what, and a row per contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ecad.evaluate_setup import PreparedEvaluation
from ecad.evaluation.comparison import Outcome
from ecad.evaluation.rows import cost_numbers, quality_numbers

RESULTS_FORMAT = 1


def results_of(
    prepared: PreparedEvaluation, outcomes: Sequence[Outcome], distances: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Plain data. `distances` holds, per metric of a whole set, a number per row."""
    settings, generation = prepared.settings, prepared.generation
    uncached = outcomes[0]
    return {
        "ecad_results": RESULTS_FORMAT,
        "model": prepared.model.source.name,
        "steps": generation.steps,
        "guidance_scale": generation.guidance_scale,
        "height": generation.height,
        "width": generation.width,
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
        "metrics": _metrics(prepared),
        "reference": settings.reference,
        "interval": "95 % percentile bootstrap over prompts; differences to uncached are paired by prompt and seed",
        "latency": {
            "unit": "seconds per image: denoising and VAE decode, text encoding excluded",
            "batch_size": settings.batch_size,
            "batches": len(uncached.seconds_per_image),
        },
        "environment": prepared.environment,
        "notes": _notes(prepared),
        "rows": [_row(prepared, outcome, uncached, distances) for outcome in outcomes],
    }


def _metrics(prepared: PreparedEvaluation) -> list[dict[str, Any]]:
    """In the user's order; `reference` says what a metric compares with besides the prompt, if anything."""
    described = {
        scorer.name: {
            "name": scorer.name,
            "higher_is_better": scorer.higher_is_better,
            "reference": "uncached" if scorer.needs_reference else None,
        }
        for scorer in prepared.scorers
    }
    for scorer in prepared.set_scorers:
        described[scorer.name] = {
            "name": scorer.name,
            "higher_is_better": scorer.higher_is_better,
            "reference": "set",
        }
    order = {name: place for place, name in enumerate(prepared.metrics)}
    return sorted(described.values(), key=lambda metric: order.get(str(metric["name"]), len(order)))


def _row(
    prepared: PreparedEvaluation,
    outcome: Outcome,
    uncached: Outcome,
    distances: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    contender = outcome.contender
    is_uncached = outcome is uncached
    metrics: dict[str, dict[str, Any]] = {}
    for metric in _metrics(prepared):
        name = metric["name"]
        if metric["reference"] == "set":
            value = distances[name][contender.name]
            metrics[name] = {
                "quality": value,
                "difference": value - distances[name][uncached.contender.name],
            }
        elif name not in outcome.scores_by or (metric["reference"] == "uncached" and is_uncached):
            continue  # fidelity to itself, or of another model, says nothing
        else:
            # A fidelity metric is a difference to uncached already.
            baseline = uncached.scores_by[name] if metric["reference"] is None else None
            metrics[name] = quality_numbers(outcome.scores_by[name], baseline, prepared.settings.seeds)
    return {
        "name": contender.name,
        "kind": contender.kind,
        "steps": contender.steps,
        **cost_numbers(outcome, uncached, prepared.workload),
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "identical_to_uncached": outcome.images_sha256 == uncached.images_sha256,
        "metrics": metrics,
    }


def _notes(prepared: PreparedEvaluation) -> list[str]:
    """What a reader of the table has to know."""
    notes = []
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
            f"{prepared.generation.max_sequence_length} tokens that the model reads: their ends have no effect"
        )
    if any(contender.pipeline is not None for contender in prepared.contenders):
        notes.append(
            "baselines are other models, run through their own pipeline with its defaults: no fidelity to uncached; "
            "their MACs are counted by torch in the denoising network"
        )
    return notes


def _searched_on(provenance: Mapping[str, Any]) -> str | None:
    search = provenance.get("search")
    prompts = search.get("prompts") if isinstance(search, Mapping) else None
    return prompts if isinstance(prompts, str) else None
