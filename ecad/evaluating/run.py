"""The main path of `ecad evaluate`: prepare -> measure batch by batch -> store -> table.

Every measurement is on the disk before the next one is made. An evaluation that was stopped goes on when the same
command is run again: what is in the log is not measured twice, and the table is made from the log alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecad.arrays import Images
from ecad.errors import RunError, ScoreError
from ecad.evaluating.results import results_of
from ecad.evaluating.settings import EvaluateSettings, ResolvedEvaluateSettings
from ecad.evaluating.setup import PreparedEvaluation, prepare_evaluation
from ecad.families.registry import is_shipped
from ecad.families.spec_file import FAMILY_FILE, dump_family
from ecad.measuring.comparison import Comparison
from ecad.measuring.measurements import Key, Measurement, Retiming
from ecad.report.evaluate_tables import results_csv, results_markdown
from ecad.report.images import image_grid, png_bytes, read_png
from ecad.report.results import Results
from ecad.report.samples import SAMPLES, SCHEDULES, file_name, row_folder, sample_stem
from ecad.sampling.base import Job
from ecad.schedule import dump_schedule
from ecad.scoring import SetScorer
from ecad.scoring.references import load_reference
from ecad.scoring.videos import strip
from ecad.storage import ResultsFolder

# In the log: a further timing of a row, in seconds per image, instead of a batch.
_TIMED_AGAIN = "timed_again_s"

Observer = Callable[[str, int, int], None]  # phase, images done, images in all


def evaluate(
    settings: EvaluateSettings, out: Path, observer: Observer = lambda phase, done, total: None
) -> Results:
    """Compare schedules, fewer steps and other pipelines with the uncached model; everything is written to `out`.

    A folder that holds an evaluation with other settings is refused.
    """
    resolved = settings.resolved()
    with ResultsFolder(out) as folder:
        prepared = prepare_evaluation(folder, resolved)
        comparison = Comparison(
            prepared.contenders,
            prepared.subject.sampler,
            prepared.scorers,
            prepared.prompts,
            seeds_per_prompt=resolved.seeds,
            first_seed=resolved.first_seed,
            batch_size=resolved.batch_size,
        )
        prepared.subject.model.free_text_encoders()  # all prompts are encoded: leave their memory to the images
        # The references come first: a broken file among them shows before any image is made.
        references = {
            each.name: _reference(prepared, each, folder, observer) for each in prepared.set_scorers
        }
        measurements = _measure(prepared, comparison, folder, observer)
        retimings = _time_again(comparison, folder, measurements)
        distances = _distances(prepared, comparison, folder, references)
        samples = _sample_jobs(resolved, comparison.jobs)
        results = results_of(
            prepared, comparison.outcomes(measurements.values(), retimings), distances, samples
        )
        for contender in prepared.contenders:
            if contender.schedule is not None:
                row = _row_folder(comparison, contender.name)
                folder.write_bytes(f"{SCHEDULES}/{row}.yaml", dump_schedule(contender.schedule).encode())
        folder.write_json("results.json", results.to_json())
        family = prepared.subject.model.family
        if not is_shipped(family):  # what its rows' schedules cannot be read without
            folder.write_text(FAMILY_FILE, dump_family(family))
        folder.write_text("results.csv", results_csv(results))
        folder.write_text("results.md", results_markdown(results))
        if samples:
            folder.write_bytes("grid.png", _grid(prepared, comparison, folder))
    return results


def _measure(
    prepared: PreparedEvaluation, comparison: Comparison, folder: ResultsFolder, observer: Observer
) -> dict[Key, Measurement]:
    """All measurements: those in the log, and then what is missing."""
    records = [record for record in folder.log.items if _TIMED_AGAIN not in record]
    measurements = {each.key: each for each in map(_from_record, records)}
    samples = _sample_jobs(prepared.settings, comparison.jobs)
    total = len(comparison.jobs) * len(comparison.contenders)
    done = sum(each.images for each in measurements.values())
    observer("images", done, total)
    for measurement, batch, images in comparison.run(measurements):
        # The log comes last: what is in it is complete.
        row = _row_folder(comparison, measurement.contender)
        for scorer in _networks(prepared.set_scorers):
            folder.write_features(_features_file(scorer, row, measurement.batch), scorer.features(images))
        for job, image in zip(batch, images, strict=True):
            if job in samples:
                folder.write_bytes(_sample_file(row, job), png_bytes(strip(image)))
        folder.log.append(_to_record(measurement))
        measurements[measurement.key] = measurement
        done += measurement.images
        observer("images", done, total)
    return measurements


def _time_again(
    comparison: Comparison, folder: ResultsFolder, measurements: Mapping[Key, Measurement]
) -> list[Retiming]:
    """Further timings of rows whose times are in doubt: those in the log, and then what is missing."""
    try:
        retimings = [
            Retiming(str(record["row"]), float(record[_TIMED_AGAIN]))
            for record in folder.log.items
            if _TIMED_AGAIN in record
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"scores.jsonl is damaged: {type(error).__name__} {error}") from None
    for retiming in comparison.time_again(measurements.values(), list(retimings)):
        folder.log.append({"row": retiming.contender, _TIMED_AGAIN: retiming.seconds_per_image})
        retimings.append(retiming)
    return retimings


def _distances(
    prepared: PreparedEvaluation,
    comparison: Comparison,
    folder: ResultsFolder,
    references: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """Metric of a whole set -> row -> its distance to the reference."""
    distances: dict[str, dict[str, float]] = {}
    batches = max(number for _, number in comparison.all_keys()) + 1
    for scorer in prepared.set_scorers:
        distances[scorer.name] = {}
        for contender in comparison.contenders:
            row = _row_folder(comparison, contender.name)
            parts = [folder.read_features(_features_file(scorer, row, number)) for number in range(batches)]
            distances[scorer.name][contender.name] = float(
                scorer.distance(np.concatenate(parts), references[scorer.name])
            )
    return distances


def _reference(
    prepared: PreparedEvaluation, scorer: SetScorer, folder: ResultsFolder, observer: Observer
) -> Any:
    """The reference of a metric; the features of a folder of images are kept.

    It is tried at once on two gray images: a reference of another network or of too little shows before the work.
    """
    reference = load_reference(
        Path(prepared.settings.reference or "").expanduser(),
        scorer,
        folder.path / "features" / "reference",
        on_pictures=lambda done, total: observer("reference", done, total),
    )
    generation = prepared.subject.settings
    gray = np.full((2, generation.height, generation.width, 3), 128, np.uint8)
    with contextlib.suppress(ScoreError):  # of two equal images not every distance is a number
        scorer.distance(scorer.features(gray), reference)
    return reference


def _sample_jobs(settings: ResolvedEvaluateSettings, jobs: Sequence[Job]) -> list[Job]:
    """The first image of each of the first prompts."""
    return [job for job in jobs if job.seed == settings.first_seed + job.prompt_index * settings.seeds][
        : settings.samples
    ]


def _grid(prepared: PreparedEvaluation, comparison: Comparison, folder: ResultsFolder) -> bytes:
    """PNG: a row per contender, a column per prompt."""
    jobs = _sample_jobs(prepared.settings, comparison.jobs)
    rows: list[list[Images]] = []
    for contender in comparison.contenders:
        row = _row_folder(comparison, contender.name)
        rows.append([read_png(folder.path / _sample_file(row, job)) for job in jobs])
    labels = [contender.name for contender in comparison.contenders]
    return png_bytes(image_grid(rows, labels, [prepared.prompts.prompts[job.prompt_index] for job in jobs]))


def _row_folder(comparison: Comparison, contender: str) -> str:
    return row_folder([each.name for each in comparison.contenders].index(contender), contender)


def _networks(scorers: Sequence[SetScorer]) -> list[SetScorer]:
    """One scorer for each kind of features: fid and kid read the same ones, which cost more than many an image."""
    return list({scorer.features_name: scorer for scorer in scorers}.values())


def _features_file(scorer: SetScorer, row: str, batch: int) -> str:
    return f"features/{file_name(scorer.features_name)}/{row}/{batch:05d}.npy"


def _sample_file(row: str, job: Job) -> str:
    return f"{SAMPLES}/{row}/{sample_stem(*job)}.png"


def _to_record(measurement: Measurement) -> dict[str, Any]:
    return {
        "row": measurement.contender,
        "batch": measurement.batch,
        "images": measurement.images,
        "seconds_per_image": measurement.seconds_per_image,
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "pipeline_macs": measurement.pipeline_macs,
        "images_sha256": measurement.images_sha256,
        "scores": {name: [float(score) for score in scores] for name, scores in measurement.scores.items()},
    }


def _from_record(record: Mapping[str, Any]) -> Measurement:
    try:
        return Measurement(
            contender=str(record["row"]),
            batch=int(record["batch"]),
            images=int(record["images"]),
            scores={name: np.array(scores, dtype=np.float64) for name, scores in record["scores"].items()},
            seconds_per_image=float(record["seconds_per_image"]),
            images_sha256=str(record["images_sha256"]),
            peak_memory_bytes=record["peak_memory_bytes"],
            pipeline_macs=record["pipeline_macs"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"scores.jsonl is damaged: {type(error).__name__} {error}") from None
