"""The results of `ecad evaluate` as a Markdown text, as CSV and as a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.table import Table

from ecad.measuring.rows import Quality, Row
from ecad.report import row_table
from ecad.report.results import MetricColumn, Results
from ecad.report.row_table import Column


def results_table(results: Results) -> Table:
    """For a terminal: costs, and each metric with its difference to uncached; colour where 0 is outside.

    With more than two metrics the intervals go below the numbers, so that the table stays narrow.
    """
    longest = min(max(len(row.name) for row in results.rows), row_table.LONGEST_NAME)
    separator = "\n" if len(results.metrics) > 2 else " "
    columns = [
        Column("", row_table.kind, is_number=False),
        Column("row", lambda row: row.name, is_number=False, min_width=longest),
        *_number_columns(results, separator),
    ]
    return row_table.terminal_table(results.rows, columns, names_kinds=False, narrow=False)


def results_markdown(results: Results) -> str:
    """The same table as a Markdown text, with what it was measured on."""
    columns = [
        Column("row", row_table.name, is_number=False),
        Column("kind", row_table.kind, is_number=False),
        *_number_columns(results, " "),
    ]
    lines = [f"# {results.about['model']}, evaluated", "", *summary_lines(results), ""]
    lines += row_table.markdown_table(results.rows, columns)
    if results.notes:
        lines += ["", *(f"- {row_table.plain(note)}" for note in results.notes)]
    return "\n".join(lines) + "\n"


def _number_columns(results: Results, separator: str) -> list[Column]:
    columns = [
        Column("steps", lambda row: str(row.steps)),
        Column("MACs", row_table.macs),
        Column("MACs\nspeedup", row_table.speedup_macs),
        Column("ms\nper image", row_table.milliseconds),
        Column("latency\nspeedup", row_table.speedup_latency_with_range),
    ]
    if any(row.peak_memory_bytes is not None for row in results.rows):
        columns.append(Column("peak\nGiB", row_table.peak_gib))
    for metric in results.metrics:
        columns.append(Column(_heading(metric), row_table.quality(metric, separator)))
        if metric.has_difference:
            columns.append(Column("minus\nuncached", row_table.difference(metric, separator)))
    return columns


def _heading(metric: MetricColumn) -> str:
    return f"{metric.name} {'↑' if metric.higher_is_better else '↓'}"


def results_csv(results: Results) -> str:
    """One line per row, numbers in full and without units; a number that does not exist is an empty cell."""
    columns = ["name", "kind", "steps", "macs", "speedup_macs", "latency_s", "speedup_latency"]
    columns += ["speedup_latency_low", "speedup_latency_high", "peak_memory_bytes", "identical_to_uncached"]
    parts = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")
    columns += [metric.name + part for metric in results.metrics for part in parts]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in results.rows:
        cells = [*_cost_cells(row)]
        for metric in results.metrics:
            cells += _quality_cells(row.metrics.get(metric.name))
        writer.writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()


def _cost_cells(row: Row) -> list[object]:
    return [
        *(
            row.name,
            row.kind.value,
            row.steps,
            row.macs,
            row.speedup_macs,
            row.latency_s,
            row.speedup_latency,
        ),
        *row.speedup_latency_range,
        row.peak_memory_bytes,
        row.identical_to_uncached,
    ]


def _quality_cells(numbers: Quality | None) -> list[float | None]:
    if numbers is None:
        return [None] * 6
    nothing: Sequence[None] = (None, None)
    return [
        numbers.mean,
        *(numbers.interval or nothing),
        numbers.difference,
        *(numbers.difference_interval or nothing),
    ]


def summary_lines(results: Results) -> list[str]:
    """What the table was measured on, a few lines of text."""
    about = results.about
    prompts, latency, environment = about["prompts"], about["latency"], about["environment"]
    seeds = about["seeds_per_prompt"]
    how = row_table.timings_note(results.rows, latency.get("how")) or f"median of {latency['batches']}"
    left_out = ", ".join(f"{count} {reason}" for reason, count in prompts["left_out"].items())
    generation = (
        f"{about['model']}, {about['steps']} steps, guidance {about['guidance_scale']:g}, "
        f"{about['height']} x {about['width']} pixels; {about['images_per_row']} images a row: "
        f"{prompts['count']} prompts of {prompts['name']} ({prompts['format']}, sha256 {prompts['sha256'][:12]}), "
        f"{seeds} seed{'s' if seeds > 1 else ''} each"
    )
    timing = (
        f"Latency per image in batches of {latency['batch_size']} ({how}), text encoding "
        f"excluded, on {environment['hardware']} ({environment['device']}, {environment['dtype']})."
    )
    if left_out:
        generation += f"; left out: {left_out}"
    lines = [generation + ".", timing, f"Intervals: {about['interval']}."]
    if about["reference"] is not None:
        lines.append(f"Reference set: {about['reference']}.")
    return lines
