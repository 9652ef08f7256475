"""Run folders and evaluation folders made by hand: no model is loaded, all numbers are chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ecad.measuring.rows import Kind, Quality, Row
from ecad.records import Candidate, Evaluation
from ecad.report.results import MetricColumn, Results
from ecad.report.samples import SAMPLES, SMALL_SUFFIX, row_folder, sample_stem, small_picture
from ecad.report.search_report import SearchReport, Versus, Volumes
from ecad.schedule import (
    Calibration,
    Schedule,
    ScheduleShape,
    dump_schedule,
    genome_to_hex,
    heuristic,
    to_genome,
)
from ecad.storage import EvaluationLog, RunFolder

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
PROMPTS = ["a red <circle> & a blue square", "a green cross", "two yellow triangles"]
ENVIRONMENT = {"ecad": "0.1.0", "torch": "2.14", "hardware": "a machine", "device": "cpu", "dtype": "float32"}

# Name, kind, steps, speedup in MACs and in time, quality.
ROWS = (
    ("uncached", Kind.UNCACHED, 6, 1.0, 1.0, 0.90),
    ("01-1.50x", Kind.FRONT, 6, 1.5, 1.4, 0.895),
    ("02-2.00x", Kind.FRONT, 6, 2.0, 1.9, 0.88),
    ("03-3.00x", Kind.FRONT, 6, 3.0, 1.8, 0.82),  # slower on the clock than the one before, and worse
    ("fora:2", Kind.HEURISTIC, 6, 2.0, 1.7, 0.86),
    ("mask:0,2,4", Kind.HEURISTIC, 6, 2.1, 1.8, 0.85),
    ("smooth:0.2", Kind.HEURISTIC, 6, 2.5, 2.0, 0.84),
    ("steps:3", Kind.FEWER_STEPS, 3, 2.0, 2.0, 0.85),
    ("steps:0,2,3", Kind.FEWER_STEPS, 3, 2.0, 2.0, 0.30),  # far below the front
)
FRONT = {
    "01-1.50x": heuristic("tgate:2", SHAPE),
    "02-2.00x": heuristic("output:0,2,4", SHAPE),
    "03-3.00x": heuristic("mask:0,3", SHAPE),
}


def made_row(name: str, kind: Kind, steps: int, macs: float, latency: float, quality: float) -> Row:
    numbers = Quality(
        quality, (quality - 0.02, quality + 0.01), quality - 0.9, (quality - 0.92, quality - 0.89)
    )
    return Row(
        name,
        kind,
        steps,
        macs=int(1e9 / macs),
        speedup_macs=macs,
        latency_s=0.2 / latency,
        speedup_latency=latency,
        speedup_latency_range=(latency - 0.1, latency + 0.1),
        metrics={"alignment": numbers},
        paper_s={"H100": 0.01 / (0.9 * macs + 0.1)},
    )


def made_calibration() -> Calibration:
    distances = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0))) / 5
    components = {
        name: np.broadcast_to(distances[:, :, None, None], (6, *size)).copy()
        for name, size in SHAPE.array_shapes().items()
    }
    return Calibration(SHAPE, components, distances, {"model": "toy", "images": 2})


def made_log(folder: Path) -> None:
    """Two generations of two schedules; the last one could not be evaluated."""
    with EvaluationLog(folder / "evaluations.jsonl") as log:
        for index, (name, cost, quality) in enumerate(
            [
                ("all", 1.0, 0.9),
                ("mask:0", 1 / 6, 0.2),
                ("fora:2", 0.5, 0.8),
                ("random:0.5", 0.6, float("nan")),
            ]
        ):
            schedule = heuristic(name, SHAPE)
            genome = genome_to_hex(to_genome(schedule))
            candidate = Candidate(schedule.digest(), schedule, genome, 1 + index // 2, index % 2)
            if quality != quality:
                evaluation = Evaluation.failed(candidate.key, "no luck")
            else:
                evaluation = Evaluation(candidate.key, cost, quality, (quality,) * 4, 10)
            log.append(candidate, evaluation)


def made_unfinished_run(folder: Path) -> Path:
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model": "toy", "quality": "alignment", "cost": "macs", "population": 2, "seed": 0}
    run.write_config({"settings": settings, "prompts": {"search": {"name": "mine", "count": 4}}})
    run.write_json("environment.json", ENVIRONMENT)
    made_calibration().save(folder / "calibration.json")
    made_log(folder)
    return folder


def made_run(folder: Path, *, is_old: bool = False) -> Path:
    """A finished run; one of an earlier version has no images, no prompts' texts and no time on paper."""
    made_unfinished_run(folder)
    run = RunFolder(folder)
    run.write_front(
        {name: schedule.replace(name=name, model={"name": "toy"}) for name, schedule in FRONT.items()}
    )
    rows = [made_row(*row) for row in ROWS]
    report = SearchReport(
        model="toy",
        steps=6,
        quality="alignment",
        search={
            **{"run": "abc", "cost": "macs", "generations": 2, "evaluations": 4, "images_per_evaluation": 4},
            **{"prompts": "mine", "hypervolume": [0.1, 0.35]},
        },
        heldout={
            **{"prompts": "others", "count": 3, "images": 3},
            "samples": [{"prompt": text, "seed": 10 + index} for index, text in enumerate(PROMPTS)],
        },
        latency={"batch_size": 2, "batches": 1, "prediction_error": None},
        environment=ENVIRONMENT,
        volumes=Volumes(
            "macs", 0.3, {Kind.FRONT: 0.3, Kind.HEURISTIC: 0.28, Kind.FEWER_STEPS: 0.27}, (0.01, 0.03)
        ),
        comparisons=[
            Versus("level", 2.0, "macs", "02-2.00x", 2.0, "fora:2", 2.0, 0.02, (0.01, 0.03)),
        ],
        rows=rows,
    )
    content = report.to_json()
    if is_old:
        del content["heldout"]["samples"]
        for row in content["rows"]:
            del row["paper_s"]
    else:
        made_samples(folder, rows, SMALL_SUFFIX)
    run.write_json("report.json", content)
    return folder


def made_samples(folder: Path, rows: list[Row], suffix: str) -> None:
    """Images of one colour each, another one for each row and prompt."""
    for place, row in enumerate(rows):
        target = folder / SAMPLES / row_folder(place, row.name)
        target.mkdir(parents=True)
        for prompt in range(len(PROMPTS)):
            image = np.full((32, 32, 3), (20 * place, 80 * prompt, 120), np.uint8)
            (target / f"{sample_stem(prompt, 10 + prompt)}{suffix}").write_bytes(small_picture(image))


def made_evaluation(folder: Path) -> Path:
    """With two metrics, one of them better where it is lower."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("ecad_evaluation: 1\nmodel:\n  name: toy\n  steps: 6\nsamples: 3\n")
    (folder / "schedules").mkdir()
    rows = []
    for place, (name, kind, *numbers) in enumerate(ROWS):
        row = made_row(name, Kind.SCHEDULE if kind is Kind.FRONT else kind, *numbers)
        error = {"error": Quality(1.0 - row.metrics["alignment"].mean)} if place else {}
        rows.append(Row(**{**vars(row), "metrics": {**row.metrics, **error}}))
        if name in FRONT:
            schedule: Schedule = FRONT[name]
            (folder / "schedules" / f"{row_folder(place, name)}.yaml").write_text(dump_schedule(schedule))
    about: dict[str, Any] = {
        **{"model": "toy", "steps": 6, "guidance_scale": 4.0, "height": 32, "width": 32},
        "prompts": {"name": "mine", "format": "text", "count": 3, "sha256": "0" * 64, "left_out": {}},
        **{"images_per_row": 3, "seeds_per_prompt": 1, "first_seed": 10, "reference": None},
        "interval": "95 %",
        "latency": {"batch_size": 2, "batches": 1},
        "environment": ENVIRONMENT,
        "samples": [{"prompt": text, "seed": 10 + index} for index, text in enumerate(PROMPTS)],
    }
    metrics = [MetricColumn("alignment", True, None), MetricColumn("error", False, "uncached", 2)]
    results = Results(about, metrics, ["a <note>"], rows)
    (folder / "results.json").write_text(json.dumps(results.to_json()))
    made_samples(folder, rows, ".webp")
    return folder
