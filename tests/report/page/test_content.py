"""What the page of a folder contains, without a browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.made_run import (
    FRONT,
    PROMPTS,
    SHAPE,
    made_calibration,
    made_evaluation,
    made_run,
    made_unfinished_run,
)

from ecad.errors import RunError
from ecad.report.page.build import folder_content
from ecad.report.page.content import Content, Mark, nondominated_marks
from ecad.report.page.front_chart import front_charts, quality_ranges, speed_ranges
from ecad.report.page.panels import calibration_panels, neighbour_distances, schedule_panels
from ecad.report.results import MetricColumn
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.storage import StatusFile

ALIGNMENT = MetricColumn("alignment", True, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return folder_content(made_run(tmp_path_factory.mktemp("page") / "run"))


def by_name(content: Content) -> dict[str, Mark]:
    return {mark.name: mark for mark in content.marks}


def test_a_finished_run(finished: Content) -> None:
    assert finished.state == "finished"
    assert [measure.key for measure in finished.measures] == ["macs", "latency", "paper:H100"]
    assert [group.key for group in finished.groups] == [
        *("front", "uncached", "heuristics", "masks", "smooth", "fewer", "uneven")
    ]
    assert list(finished.samples) == PROMPTS
    # Uncached takes .01 s on paper, 2x fewer MACs .01 / 1.9 s.
    assert by_name(finished)["02-2.00x"].speedups == pytest.approx(
        {"macs": 2.0, "latency": 1.9, "paper:H100": 1.9}
    )
    assert by_name(finished)["02-2.00x"].qualities == {"alignment": pytest.approx((0.88, 0.86, 0.89))}
    assert all(sorted(mark.pictures) == [0, 1, 2] for mark in finished.marks)
    assert len({mark.pictures[0] for mark in finished.marks}) == len(finished.marks)
    assert finished.hypervolume == [0.1, 0.35]
    assert len(finished.cloud) == 3  # the failed one has no place
    assert finished.first() is by_name(finished)["02-2.00x"]


def test_schedules_are_the_front_s_files_and_what_heuristics_are_called(finished: Content) -> None:
    marks = by_name(finished)
    for name, schedule in FRONT.items():
        found = marks[name].schedule
        assert found is not None
        assert found.digest() == schedule.digest()
        assert marks[name].use == f'ecad.apply(pipe, "{marks[name].file_name}")'
    for name in ("fora:2", "mask:0,2,4", "smooth:0.2"):
        found = marks[name].schedule
        assert found is not None
        assert found.digest() == heuristic(name, SHAPE, made_calibration()).digest()
    assert marks["mask:0,2,4"].file_name == "mask-0-2-4.yaml"
    assert marks["steps:3"].schedule is None
    assert marks["steps:3"].use == "image = pipe(prompt, num_inference_steps=3).images[0]"
    assert marks["steps:0,2,3"].use == ""  # no pipeline takes them in one line


def test_what_the_search_cost(finished: Content) -> None:
    cost = finished.facts["What the search cost"]
    # Four images each at a cost of 1, 1/6 and 1/2; the failed one made none.
    assert cost["search"] == "4 evaluations: 12 images, which cost as much as 7 uncached ones"
    macs = 1 + 1 / 1.5 + 3 * 1 / 2 + 1 / 3 + 1 / 2.1 + 1 / 2.5 + 1 / 2
    assert cost["report"] == f"9 rows: 27 images, which cost as much as {3 * macs:.0f} uncached ones"
    assert "selection" not in cost
    assert finished.facts["Machine"]["hardware"] == "a machine"
    assert finished.facts["Settings"]["population"] == "2"


def test_an_older_run_gives_what_it_has(tmp_path: Path) -> None:
    content = folder_content(made_run(tmp_path / "old", is_old=True))
    assert [measure.key for measure in content.measures] == ["macs", "latency"]
    assert list(content.samples) == []
    assert not any(mark.pictures for mark in content.marks)
    (tmp_path / "old" / "calibration.json").unlink()
    content = folder_content(tmp_path / "old")
    assert content.calibration is None
    assert by_name(content)["fora:2"].schedule is not None  # the front's files say the shape
    assert by_name(content)["smooth:0.2"].schedule is None


def test_an_unfinished_run_has_the_front_so_far(tmp_path: Path) -> None:
    folder = made_unfinished_run(tmp_path / "run")
    content = folder_content(folder)
    assert content.state == "unfinished"
    assert f"ecad search --resume {folder}" in content.status
    assert [mark.speedups["macs"] for mark in content.marks] == pytest.approx([1.0, 2.0, 6.0])
    found = content.marks[1].schedule
    assert found is not None
    assert found.digest() == heuristic("fora:2", SHAPE).digest()
    # The reference is cost 1 and the cheapest one's quality: nothing yet, then half of the cost at .8 instead of .2.
    assert list(content.hypervolume) == pytest.approx([0.0, 0.5 * 0.6])
    with StatusFile(folder) as status:
        status._content.update(state="search", phase="search", generation=2, generations=5)
        status.still_alive()
        assert folder_content(folder).state == "running"
        assert "generation 2 of 5" in folder_content(folder).status


def test_a_run_that_has_evaluated_nothing(tmp_path: Path) -> None:
    folder = made_unfinished_run(tmp_path / "run")
    (folder / "evaluations.jsonl").unlink()
    content = folder_content(folder)
    assert (list(content.marks), list(content.hypervolume), content.first()) == ([], [], None)


def test_an_evaluation(tmp_path: Path) -> None:
    content = folder_content(made_evaluation(tmp_path / "results"))
    assert [metric.name for metric in content.metrics] == ["alignment", "error"]
    marks = by_name(content)
    assert marks["01-1.50x"].group.key == "schedules"
    assert marks["01-1.50x"].schedule is not None
    assert "error" not in marks["uncached"].qualities
    assert sorted(marks["fora:2"].pictures) == [0, 1, 2]
    assert list(content.notes) == ["a <note>"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither a run folder nor one of ecad evaluate"),
        ({"config.yaml": "ecad_evaluation: 1", "scores.jsonl": ""}, "is not finished: run its command again"),
        ({"results.json": "{"}, "is damaged"),
        ({"results.json": '{"ecad_results": 9}'}, "format 9, this version of ecad reads 1"),
    ],
)
def test_folders_without_a_page(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunError, match=message):
        folder_content(tmp_path)


def test_the_front_s_line_leaves_out_what_is_beaten(finished: Content) -> None:
    ours = [mark for mark in finished.marks if mark.group.key == "front"]
    assert [mark.name for mark in nondominated_marks(ours, "macs", ALIGNMENT)] == list(FRONT)
    # The third is slower and worse than the second on the clock.
    assert [mark.name for mark in nondominated_marks(ours, "latency", ALIGNMENT)] == ["01-1.50x", "02-2.00x"]
    lower = [replace(mark, qualities={"e": (1.0 - mark.qualities["alignment"][0],) * 3}) for mark in ours]
    found = nondominated_marks(lower, "latency", MetricColumn("e", False, None))
    assert [mark.name for mark in found] == ["01-1.50x", "02-2.00x"]


def test_axes_cover_the_front_and_on_demand_everything(finished: Content) -> None:
    ours = [mark for mark in finished.marks if mark.group.key == "front"]
    near, far = quality_ranges(finished.marks, ours, ALIGNMENT)
    assert near == pytest.approx(
        (0.80 - 0.04 * 0.11, 0.91 + 0.04 * 0.11)
    )  # the uncached one's interval is the highest
    assert far == pytest.approx((0.28 - 0.04 * 0.63, 0.91 + 0.04 * 0.63))
    assert speed_ranges(finished.marks, ours, "macs", [6.0]) == (
        pytest.approx((0.95, 3.9)),
        pytest.approx((0.95, 6.3)),
    )


def test_charts_have_every_mark_once(finished: Content) -> None:
    charts = front_charts(finished)
    assert {key: list(of_metric) for key, of_metric in charts.items()} == {
        key: ["alignment"] for key in ("macs", "latency", "paper:H100")
    }
    spec = charts["latency"]["alignment"]
    assert [point["id"] for point in spec["data"]["values"]] == [mark.id for mark in finished.marks]
    json.dumps(charts, allow_nan=False)
    assert not re.search(r'"(url|href)"', json.dumps(charts))


def test_panels_of_a_schedule_by_hand() -> None:
    schedule = heuristic("output:0,2", ScheduleShape("pixart", 4, {"transformer_blocks": 2}))
    [whole, *rest] = [[record["bits"] for record in each] for each in panels_by_title(schedule).values()]
    assert whole == ["1", "0", "1", "0"]
    assert rest == [["11", "--", "11", "--"]] * 3
    titles = [next(iter(panels_by_title(schedule.replace(holds=holds)))) for holds in ("output", "denoised")]
    assert titles == ["whole output: 50%", "whole output (clean sample held): 50%"]
    titles = list(panels_by_title(FRONT["01-1.50x"]))
    assert titles == ["attn1: 100%", "attn2: 33%", "ff: 100%"]


def panels_by_title(schedule: Schedule) -> dict[str, list[dict[str, Any]]]:
    panels: dict[str, list[dict[str, Any]]] = {}
    for record in schedule_panels(schedule):
        panels.setdefault(record["panel"], []).append(record)
    return panels


def test_panels_of_a_calibration_by_hand() -> None:
    panels = calibration_panels(made_calibration())
    assert list(panels) == ["whole output", "attn1", "attn2", "ff"]
    assert np.allclose(neighbour_distances(panels["ff"]), 0.2)
