"""Figures of fronts: what is drawn, joined, named, and left out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from ecad.errors import ConfigError, RunError
from ecad.measuring.rows import Kind, Quality, Row
from ecad.records import Evaluation
from ecad.report.page import marks
from ecad.report.plot_data import Plotted, hypervolumes_so_far, so_far
from ecad.report.plot_groups import HEURISTIC, OUTPUT, SMOOTH, UNEVEN_STEPS, group_of, short_name
from ecad.report.results import MetricColumn
from ecad.storage.log import Logged

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("textalloc", reason="textalloc is not installed")

from ecad.report.front_plot import front_figure

METRIC = MetricColumn("alignment", higher_is_better=True, reference=None)
LOSS = MetricColumn("lpips", higher_is_better=False, reference="uncached")


def row(name: str, kind: Kind, macs_speedup: float, time_speedup: float, quality: float, **more: Any) -> Row:
    difference = quality - 0.9
    return Row(
        name=name,
        kind=kind,
        steps=20,
        macs=round(1e9 / macs_speedup),
        speedup_macs=macs_speedup,
        latency_s=0.1 / time_speedup,
        speedup_latency=time_speedup,
        speedup_latency_range=(time_speedup, time_speedup),
        metrics={
            "alignment": Quality(
                quality, (quality - 0.01, quality + 0.02), difference, (difference - 0.01, difference + 0.01)
            ),
            "lpips": Quality(1.0 - quality),
        },
        **more,
    )


def source(label: str = "a", **changes: Any) -> Plotted:
    rows = [
        row("uncached", Kind.UNCACHED, 1.0, 1.0, 0.9),
        row("01-1.80x", Kind.FRONT, 1.8, 1.5, 0.9),
        row("02-2.40x", Kind.FRONT, 2.4, 2.2, 0.88),
        # More MACs saved, yet slower than the one before: in time it is dominated.
        row("03-3.00x", Kind.FRONT, 3.0, 2.1, 0.87),
        row("04-5.00x", Kind.FRONT, 5.0, 3.5, 0.7),
        replace(row("steps:10", Kind.FEWER_STEPS, 2.0, 1.9, 0.87), steps=10),
        row("fora:2", Kind.HEURISTIC, 1.9, 1.8, 0.86),
        replace(row("steps:0,1,2,6,12", Kind.FEWER_STEPS, 4.0, 3.9, 0.8), steps=5),
        row("mask:0", Kind.HEURISTIC, 17.0, 8.0, 0.2),
    ]
    given = {"rows": rows, "metrics": [METRIC, LOSS], **changes}
    return Plotted(label=label, model="toy", steps=20, about="8 images", **given)


def lines(axes: Any, style: str) -> list[list[tuple[float, float]]]:
    """Points of the fronts' lines of this style: not intervals, not the line of uncached, nor those of labels."""
    found = [
        line
        for line in axes.lines
        if line.get_linestyle() == style and line.get_linewidth() > 0.8 and len(line.get_xdata()) > 1
    ]
    return [
        list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in found
        if len(set(line.get_xdata())) > 1 and list(line.get_xdata()) != [0, 1]
    ]


def test_the_line_joins_what_nothing_dominates_in_the_panels_own_axes() -> None:
    macs, latency = front_figure([source()]).axes
    [front] = lines(macs, "-")
    assert sorted(front) == [(1.8, 0.9), (2.4, 0.88), (3.0, 0.87), (5.0, 0.7)]
    [front] = lines(latency, "-")
    assert sorted(front) == [(1.5, 0.9), (2.2, 0.88), (3.5, 0.7)]
    # The rivals' own front likewise: fora:2 is beaten by ten steps.
    [rivals] = lines(macs, "--")
    assert sorted(rivals) == [(2.0, 0.87), (4.0, 0.8), (17.0, 0.2)]


def test_names_are_ranks_and_those_of_the_best_rivals() -> None:
    macs, latency = front_figure([source()]).axes
    texts = {text.get_text() for text in macs.texts}
    assert texts == {"1", "2", "3", "4", "10 steps", "5 uneven steps", "1 rival outside"}
    assert "3" in {text.get_text() for text in latency.texts}


@pytest.mark.parametrize("choice", [None, "latency"])
def test_labels_do_not_overlap(choice: str | None) -> None:
    """Thirty-two points that lie closely together, as those of a search's report do."""
    crowd = [
        row(f"{number:02d}-x", Kind.FRONT, 1.5 + 0.05 * number, 1.4 + 0.05 * number, 0.9 - 0.001 * number)
        for number in range(1, 17)
    ]
    rivals = [
        row(
            f"fora:{number}", Kind.HEURISTIC, 1.5 + 0.06 * number, 1.4 + 0.06 * number, 0.899 - 0.001 * number
        )
        for number in range(1, 17)
    ]
    figure = front_figure([source(rows=[source().rows[0], *crowd, *rivals])], choice)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts if not text.get_text().endswith("outside")]
        assert len(boxes) > 16
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_several_runs_share_the_axes_and_have_a_line_each() -> None:
    figure = front_figure([source("a"), source("b")], "macs", "difference")
    [axes] = figure.axes
    assert len(lines(axes, "-")) == 2
    assert len(lines(axes, "--")) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["a", "b"]
    assert axes.get_xlabel() == "GMACs per image"
    assert axes.get_ylabel() == "alignment minus uncached"
    assert axes.get_xlim()[0] == 0.0


def test_less_is_better_and_cost_to_the_left() -> None:
    [axes] = front_figure([source()], "latency", "lpips").axes
    [front] = lines(axes, "-")
    assert [round(x, 6) for x, _ in front] == [round(100 / speedup, 6) for speedup in (3.5, 2.2, 1.5)]
    assert axes.get_ylabel() == "lpips (less is better)"


def test_time_on_paper() -> None:
    on_paper = [replace(item, paper_s={"H100": 0.1 / (item.speedup_macs or 1.0)}) for item in source().rows]
    [axes] = front_figure([source(rows=on_paper)], "paper:H100").axes
    assert sorted(lines(axes, "-")[0])[1] == (pytest.approx(2.4), 0.88)
    with pytest.raises(ConfigError, match="'A6000', but on: H100"):
        front_figure([source(rows=on_paper)], "paper:A6000")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ("watts", None, "no axis --x 'watts'"),
        ("macs:H100", None, "no axis --x 'macs:H100'"),
        ("paper", None, "no row has a time on paper"),
        (None, "fid", "a has no metric 'fid', only: alignment, lpips"),
        (None, "difference:lpips", "--y lpips, not a difference"),
    ],
)
def test_axes_that_there_are_not(x: str | None, y: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        front_figure([source()], x, y)


def test_groups_and_short_names() -> None:
    names = ("smooth:0.1036", "output:0,3,9,14", "denoised:0,3,9,14", "fora:3")
    smooth, output, denoised, fora = (row(name, Kind.HEURISTIC, 2.0, 2.0, 0.9) for name in names)
    assert [group_of(item) for item in (denoised, fora)] == [OUTPUT, HEURISTIC]
    assert short_name(denoised) == "denoised, 4 steps"
    assert [marks.group_of(item).key for item in (smooth, output, denoised, fora)] == [
        *("smooth", "masks", "masks", "heuristics")
    ]
    uneven = replace(row("steps:0,3,9,14", Kind.FEWER_STEPS, 5.0, 4.0, 0.8), steps=4)
    assert [group_of(item) for item in (smooth, output, uneven)] == [SMOOTH, OUTPUT, UNEVEN_STEPS]
    assert [short_name(item) for item in (smooth, output, uneven)] == [
        "smooth:0.1",
        "output, 4 steps",
        "4 uneven steps",
    ]
    assert (
        short_name(row("owner/a-very-long-schedule-name", Kind.SCHEDULE, 2.0, 2.0, 0.9)) == "a-very-long-sch…"
    )


CONFIG = {"settings": {"model": "toy", "steps": 20, "quality": "alignment", "generations": 3}}


def entry(generation: int, cost: float, quality: float) -> Logged:
    key = f"{generation}-{cost}"
    return Logged(Evaluation(key, cost, quality, (), round(cost * 1000), None), "", generation, 0, 8)


def test_a_search_that_is_not_finished() -> None:
    entries = [
        entry(1, 1.0, 0.9),
        entry(1, 0.05, 0.2),
        entry(1, 0.5, 0.8),
        entry(2, 0.6, 0.7),
        entry(2, 0.4, 0.75),
    ]
    found = so_far("run", CONFIG, {"phase": "search"}, entries)
    # 0.6 is dominated, and 0.05 is of no use.
    assert [item.name for item in found.rows] == ["uncached", "02-2.00x", "03-2.50x"]
    assert found.unfinished == "unfinished (generation 2 of 3, 5 schedules evaluated): the front so far"
    # Reference (1, 0.2): 0.5 * 0.6, and after the second generation 0.1 * 0.55 more.
    assert hypervolumes_so_far(entries) == pytest.approx([0.3, 0.355])
    figure = front_figure([found])
    front, _ = figure.axes
    assert lines(front, "-") == [[(2.5, 0.75), (2.0, 0.8)]]
    assert "the front so far" in figure.get_suptitle()
    with pytest.raises(ConfigError, match="measures time in its report"):
        front_figure([found], "latency-speedup")


def test_a_search_that_has_not_begun() -> None:
    with pytest.raises(RunError, match="not evaluated a schedule yet"):
        so_far("run", CONFIG, {}, [])
