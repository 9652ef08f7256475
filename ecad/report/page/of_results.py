"""The page of an evaluation, from its results folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ecad.errors import EcadError, RunError
from ecad.report.evaluate_tables import summary_lines
from ecad.report.page.content import Content
from ecad.report.page.facts import environment_facts, settings_facts
from ecad.report.page.marks import columns_of, marks_of, measures_of
from ecad.report.results import Results
from ecad.report.samples import SCHEDULES, row_folder
from ecad.schedule import Schedule, load_calibration, load_schedule

RESULTS_FILE = "results.json"


def results_content(folder: Path) -> Content:
    """RunError for what is no finished evaluation. What an older one lacks is left out."""
    path = folder / RESULTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    results = Results.from_json(content, str(path))
    columns = columns_of(results.rows, results.metrics)
    versions, machine = environment_facts(results.about.get("environment", {}))
    calibration = folder / "calibration.json"
    return Content(
        title=f"{results.about['model']}: schedules compared",
        state="finished",
        status=f"The evaluation is finished: {len(results.rows)} rows.",
        summary=summary_lines(results),
        measures=measures_of(results.rows),
        metrics=results.metrics,
        headings=[column.heading for column in columns],
        marks=marks_of(results.rows, results.metrics, columns, _schedules(folder, results), folder),
        samples=[str(sample["prompt"]) for sample in results.about.get("samples", ())],
        calibration=load_calibration(calibration) if calibration.is_file() else None,
        facts={"Settings": settings_facts(_config(folder)), "Versions": versions, "Machine": machine},
        notes=results.notes,
    )


def _schedules(folder: Path, results: Results) -> dict[str, Schedule]:
    schedules = {}
    for place, row in enumerate(results.rows):
        path = folder / SCHEDULES / f"{row_folder(place, row.name)}.yaml"
        if path.is_file():
            try:
                schedules[row.name] = load_schedule(path)
            except EcadError:
                continue
    return schedules


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
