"""The page of a search, finished or not, from its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecad.errors import EcadError, ScheduleError
from ecad.measuring.rows import Kind
from ecad.report.page.content import Content, Table
from ecad.report.page.facts import environment_facts, search_cost, settings_facts
from ecad.report.page.front_so_far import front_so_far
from ecad.report.page.marks import columns_of, cost_measure, marks_of, measure_named, measures_of
from ecad.report.page.state import search_state
from ecad.report.plot_data import hypervolumes_so_far
from ecad.report.results import MetricColumn
from ecad.report.search_report import SearchReport
from ecad.report.search_tables import comparison_cells, summary_text, volumes_text
from ecad.schedule import Calibration, Schedule, heuristic, load_calibration, load_schedule
from ecad.storage import RunFolder
from ecad.storage.log import Logged, read_log
from ecad.storage.status import STATUS_NAME

_MOST_POINTS = 1500  # of those that the search evaluated


def run_content(path: Path) -> Content:
    """RunError for what is no run folder. What an older or unfinished run lacks is left out."""
    folder = RunFolder.existing(path)
    config = folder.read_config()
    found = _Found(
        folder=folder,
        config=config,
        status=folder.read_json(STATUS_NAME) or {},
        entries=list(read_log(path / "evaluations.jsonl", scores=False)),
        calibration=_calibration(path / "calibration.json"),
    )
    if (path / "report.json").is_file():
        return _finished(found)
    return _unfinished(found)


@dataclass(frozen=True)
class _Found:
    folder: RunFolder
    config: Mapping[str, Any]
    status: Mapping[str, Any]
    entries: list[Logged] = field(repr=False)
    calibration: Calibration | None

    @property
    def settings(self) -> Mapping[str, Any]:
        settings = self.config.get("settings")
        return settings if isinstance(settings, dict) else {}

    @property
    def cost(self) -> str:
        return str(self.settings.get("cost", "macs"))

    @property
    def model(self) -> str:
        return str(self.settings.get("model", self.folder.path.name))

    @property
    def selected(self) -> list[Logged]:
        """Of the selection's rounds and of what joined them; what waits for its turn is not counted yet."""
        files = [*sorted(self.folder.path.glob("selection-?.jsonl")), self.folder.path / "refinement.jsonl"]
        return [entry for file in files if file.exists() for entry in read_log(file, scores=False)]

    def facts(self, cost: Mapping[str, str], environment: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
        versions, machine = environment_facts(environment)
        return {
            "What the search cost": cost,
            "Settings": settings_facts(self.config),
            "Versions": versions,
            "Machine": machine,
        }


def _finished(found: _Found) -> Content:
    folder = found.folder
    report = SearchReport.from_json(folder.read_report(), str(folder.path / "report.json"))
    metric = MetricColumn(report.quality, higher_is_better=True, reference=None)
    columns = columns_of(report.rows, [metric])
    heldout = report.heldout
    cost = search_cost(
        found.entries,
        found.selected,
        report.rows,
        heldout["images"],
        found.status,
    )
    return Content(
        title=f"{report.model}: a front of cache schedules",
        state="finished",
        status=f"The search is finished: {report.search['evaluations']} schedules evaluated.",
        summary=summary_text(report).splitlines(),
        measures=measures_of(report.rows),
        metrics=[metric],
        headings=[column.heading for column in columns],
        marks=marks_of(report.rows, [metric], columns, _schedules(found, report), folder.path),
        samples=[str(sample["prompt"]) for sample in heldout.get("samples", ())],
        cloud=_cloud(found),
        cloud_measure=cost_measure(found.cost),
        hypervolume=list(report.search["hypervolume"]),
        comparisons=Table(
            volumes_text(report).capitalize(),
            ["compared at", "front", "against", "difference"],
            [[str(cell) for cell in comparison_cells(item)] for item in report.comparisons],
        ),
        calibration=found.calibration,
        facts=found.facts(cost, report.environment),
    )


def _unfinished(found: _Found) -> Content:
    state, sentence = search_state(found.folder.path, found.status, len(found.entries))
    metric = MetricColumn(str(found.settings.get("quality", "quality")), True, None)
    measure = measure_named(cost_measure(found.cost))
    headings, marks = front_so_far(found.entries, found.calibration, measure, metric.name, found.model)
    cost = search_cost(found.entries, found.selected, [], 0, found.status)
    searched = (found.config.get("prompts") or {}).get("search") or {}
    return Content(
        title=f"{found.model}: the front so far",
        state=state,
        status=sentence,
        summary=[
            f"Qualities are means over the search's own {searched.get('count', '')} prompts, without intervals.",
            "Held-out prompts, measured times and rivals come at its end.",
        ],
        measures=[measure],
        metrics=[metric],
        headings=headings,
        marks=marks,
        cloud=_cloud(found),
        cloud_measure=cost_measure(found.cost),
        hypervolume=hypervolumes_so_far(found.entries),
        calibration=found.calibration,
        facts=found.facts(cost, found.folder.read_json("environment.json") or {}),
    )


def _cloud(found: _Found) -> list[tuple[float, float]]:
    """Of a long search every so-many-th: a browser must draw them."""
    every = -(-len(found.entries) // _MOST_POINTS) or 1
    evaluations = [entry.evaluation for entry in found.entries[::every]]
    return [(1.0 / item.cost, item.quality) for item in evaluations if item.is_finite and item.cost > 0]


def _schedules(found: _Found, report: SearchReport) -> dict[str, Schedule]:
    """By the row's name: the front's files, and heuristics, which their names describe. What cannot be read or made
    any more has none."""
    schedules: dict[str, Schedule] = {}
    for path in sorted((found.folder.path / "front").glob("*.yaml")):
        try:
            schedules[path.stem] = load_schedule(path)
        except EcadError:
            continue
    shapes = [schedule.shape for schedule in schedules.values()]
    if found.calibration is not None:
        shapes.append(found.calibration.shape)
    for row in report.of_kind(Kind.HEURISTIC) if shapes else []:
        try:
            made = heuristic(row.name, shapes[-1], found.calibration)
        except ScheduleError:
            continue
        signature = next((schedule.model for schedule in schedules.values()), {"name": report.model})
        schedules[row.name] = made.replace(name=row.name, model=signature)
    return schedules


def _calibration(path: Path) -> Calibration | None:
    if not path.is_file():
        return None
    try:
        return load_calibration(path)
    except EcadError:  # of another version: the page does without
        return None
