"""Tables of a run's report, for the terminal and as Markdown."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from ecad.measuring.rows import Kind
from ecad.report import row_table
from ecad.report.results import MetricColumn
from ecad.report.row_table import Column
from ecad.report.search_report import SearchReport, Versus


def summary_text(report: SearchReport) -> str:
    """A few lines: what was searched and what the numbers below were measured on."""
    search, heldout, environment = report.search, report.heldout, report.environment
    error = report.latency["prediction_error"]
    note = row_table.timings_note(report.rows, report.latency.get("how"))
    predicted = (
        ""
        if error is None
        else f"\nlatency table: {error['mean']:.1%} mean, {error['max']:.1%} largest error"
    )
    return (
        f"{report.model}, {report.steps} steps: {search['evaluations']} schedules evaluated in "
        f"{search['generations']} generations on {search['images_per_evaluation']} images ({search['prompts']})\n"
        f"below: {heldout['images']} held-out images ({heldout['prompts']}), 95 % intervals; latency per image "
        f"in batches of {report.latency['batch_size']} on {environment['hardware']} ({environment['device']})"
        + (f"; {note}" if note else "")
        + predicted
    )


def report_table(report: SearchReport) -> Table:
    """One row per schedule: speedups, MACs, latency, quality, and the paired difference to uncached."""
    # In 80 columns the numbers stay whole, and long names are folded.
    return row_table.terminal_table(report.rows, _columns(report), names_kinds=True, narrow=True)


def _columns(report: SearchReport) -> list[Column]:
    metric = _metric(report)
    return [
        Column("schedule", row_table.name, is_number=False, min_width=10),
        Column("MACs", row_table.macs),
        Column("fewer\nMACs", row_table.speedup_macs),
        Column("ms an\nimage", row_table.milliseconds),
        Column("less\ntime", row_table.speedup_latency),
        Column(report.quality, row_table.half_interval(metric)),
        Column("minus uncached", row_table.difference(metric)),
    ]


def _metric(report: SearchReport) -> MetricColumn:
    return MetricColumn(report.quality, higher_is_better=True, reference=None)


def volumes_text(report: SearchReport) -> str:
    """The held-out hypervolumes in a sentence."""
    volumes = report.volumes

    def written(interval: tuple[float, float]) -> str:
        return f"(front's difference {interval[0]:+.4f} to {interval[1]:+.4f})"

    text = (
        f"held-out hypervolume ({volumes.cost}): front {volumes.by_kind[Kind.FRONT]:.4f}, "
        f"heuristics {volumes.by_kind[Kind.HEURISTIC]:.4f} {written(volumes.front_minus_heuristic)}, "
        f"fewer steps {volumes.by_kind[Kind.FEWER_STEPS]:.4f}"
    )
    if volumes.rivals is None or volumes.front_minus_rivals is None:
        return text
    return f"{text}, both together {volumes.rivals:.4f} {written(volumes.front_minus_rivals)}"


def comparison_table(report: SearchReport) -> Table:
    """The front against heuristics and fewer steps, see `ecad.searching.rivals`."""
    table = Table(
        title=volumes_text(report),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("")
    for heading in ("front", "against"):
        table.add_column(heading, overflow="fold")
    table.add_column("difference", justify="right", no_wrap=True)
    previous = None
    for item in sorted(report.comparisons, key=lambda item: item.how):
        if previous not in (None, item.how):
            table.add_section()
        previous = item.how
        table.add_row(*comparison_cells(item))
    return table


def comparison_cells(item: Versus) -> list[str | Text]:
    return [
        item.compared_at,
        f"{item.front} ({item.front_speedup:.2f}x {item.measure})",
        f"{item.rival} ({item.rival_speedup:.2f}x)",
        row_table.coloured(item.difference, item.difference_interval),
    ]


def report_markdown(report: SearchReport) -> str:
    """The tables of `ecad show` as a Markdown text."""
    metric = _metric(report)
    columns = [
        Column("kind", row_table.kind, is_number=False),
        Column("schedule", row_table.name, is_number=False),
        Column("MACs", row_table.speedup_macs),
        Column("latency", row_table.speedup_latency),
        Column(report.quality, row_table.quality(metric)),
        Column("minus uncached", row_table.difference(metric)),
    ]
    comparisons = row_table.markdown_lines(
        ["compared at", "front", "against", "difference"],
        [[str(cell) for cell in comparison_cells(item)] for item in report.comparisons],
        [False, False, False, True],
    )
    lines = [
        *summary_text(report).splitlines(),
        "",
        *row_table.markdown_table(report.rows, columns),
        "",
        f"{volumes_text(report)}.",
        "",
        *comparisons,
    ]
    return "\n".join(lines) + "\n"
