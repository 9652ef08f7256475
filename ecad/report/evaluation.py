"""The results of `ecad evaluate` as a Markdown text, as CSV and as a table for the terminal.

`results` is always the content of results.json, see `ecad.evaluate_results`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

_KIND_STYLE = {
    "uncached": "bold",
    "front": "green",
    "schedule": "green",
    "heuristic": "yellow",
    "fewer-steps": "cyan",
    "more-steps": "cyan",
    "baseline": "magenta",
}
_NONE = "–"
_LONGEST_NAME = 32  # of a row, in characters; longer ones are folded


def results_table(results: Mapping[str, Any]) -> Table:
    """For a terminal: costs, and each metric with its difference to uncached; colour where 0 is outside.

    With more than two metrics the intervals go below the numbers, so that the table stays narrow.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("")
    longest = max(len(row["name"]) for row in results["rows"])
    table.add_column("row", overflow="fold", min_width=min(longest, _LONGEST_NAME))
    for heading in _cost_headings(results):
        table.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for metric in results["metrics"]:
        table.add_column(_heading(metric), justify="right", no_wrap=True)
        if metric["reference"] != "uncached":
            table.add_column("minus\nuncached", justify="right", no_wrap=True)
    separator = "\n" if len(results["metrics"]) > 2 else " "
    previous = None
    for row in results["rows"]:
        if previous not in (None, row["kind"]):
            table.add_section()
        previous = row["kind"]
        cells: list[str | Text] = [Text(row["kind"], style=_KIND_STYLE.get(row["kind"], "")), row["name"]]
        cells += _cost_cells(row, results)
        for metric in results["metrics"]:
            numbers = row["metrics"].get(metric["name"])
            cells.append(_NONE if numbers is None else _quality(numbers, metric, separator))
            if metric["reference"] != "uncached":
                cells.append(_coloured(numbers, metric, separator) if row["kind"] != "uncached" else "")
        table.add_row(*cells)
    return table


def results_markdown(results: Mapping[str, Any]) -> str:
    """The same table as a Markdown text, with what it was measured on."""
    headings = ["row", "kind", *_cost_headings(results)]
    for metric in results["metrics"]:
        headings.append(_heading(metric))
        if metric["reference"] != "uncached":
            headings.append("minus uncached")
    lines = [f"# {results['model']}, evaluated", "", *summary_lines(results), ""]
    lines.append("| " + " | ".join(headings) + " |")
    lines.append("|---|---|" + "---:|" * (len(headings) - 2))
    for row in results["rows"]:
        cells = [_plain(row["name"]), row["kind"], *_cost_cells(row, results)]
        for metric in results["metrics"]:
            numbers = row["metrics"].get(metric["name"])
            cells.append(_NONE if numbers is None else _quality(numbers, metric))
            if metric["reference"] != "uncached":
                cells.append(
                    "" if row["kind"] == "uncached" or numbers is None else _difference(numbers, metric)
                )
        lines.append("| " + " | ".join(cells) + " |")
    if results["notes"]:
        lines += ["", *(f"- {_plain(note)}" for note in results["notes"])]
    return "\n".join(lines) + "\n"


def results_csv(results: Mapping[str, Any]) -> str:
    """One line per row, numbers in full and without units; a number that does not exist is an empty cell."""
    columns = ["name", "kind", "steps", "macs", "speedup_macs", "latency_s", "speedup_latency"]
    columns += ["speedup_latency_low", "speedup_latency_high", "peak_memory_bytes", "identical_to_uncached"]
    parts = ("", "_low", "_high", "_difference", "_difference_low", "_difference_high")
    for metric in results["metrics"]:
        columns += [metric["name"] + part for part in parts]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in results["rows"]:
        cells = [row[name] for name in columns[:7]]
        cells += [*row["speedup_latency_range"], row["peak_memory_bytes"], row["identical_to_uncached"]]
        for metric in results["metrics"]:
            numbers = row["metrics"].get(metric["name"], {})
            cells += [numbers.get("quality"), *numbers.get("quality_interval", (None, None))]
            cells += [numbers.get("difference"), *numbers.get("difference_interval", (None, None))]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()


def summary_lines(results: Mapping[str, Any]) -> list[str]:
    """What the table was measured on, a few lines of text."""
    prompts, latency, environment = results["prompts"], results["latency"], results["environment"]
    seeds = results["seeds_per_prompt"]
    left_out = ", ".join(f"{count} {reason}" for reason, count in prompts["left_out"].items())
    generation = (
        f"{results['model']}, {results['steps']} steps, guidance {results['guidance_scale']:g}, "
        f"{results['height']} x {results['width']} pixels; {results['images_per_row']} images a row: "
        f"{prompts['count']} prompts of {prompts['name']} ({prompts['format']}, sha256 {prompts['sha256'][:12]}), "
        f"{seeds} seed{'s' if seeds > 1 else ''} each"
    )
    timing = (
        f"Latency per image in batches of {latency['batch_size']} (median of {latency['batches']}), text encoding "
        f"excluded, on {environment['hardware']} ({environment['device']}, {environment['dtype']})."
    )
    if left_out:
        generation += f"; left out: {left_out}"
    lines = [generation + ".", timing, f"Intervals: {results['interval']}."]
    if results["reference"] is not None:
        lines.append(f"Reference set: {results['reference']}.")
    return lines


def _cost_headings(results: Mapping[str, Any]) -> list[str]:
    headings = ["steps", "MACs", "MACs speedup", "ms per image", "latency speedup"]
    if _has_memory(results):
        headings.append("peak GiB")
    return headings


def _cost_cells(row: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    low, high = row["speedup_latency_range"]
    cells = [
        str(row["steps"]),
        _NONE if row["macs"] is None else _macs(row["macs"]),
        _NONE if row["speedup_macs"] is None else f"{row['speedup_macs']:.2f}x",
        f"{row['latency_s'] * 1000:.1f}",
        f"{row['speedup_latency']:.2f}x" + (f" ({low:.2f}-{high:.2f})" if low != high else ""),
    ]
    if _has_memory(results):
        peak = row["peak_memory_bytes"]
        cells.append(_NONE if peak is None else f"{peak / 2**30:.2f}")
    return cells


def _has_memory(results: Mapping[str, Any]) -> bool:
    return any(row["peak_memory_bytes"] is not None for row in results["rows"])


def _heading(metric: Mapping[str, Any]) -> str:
    return f"{metric['name']} {'↑' if metric['higher_is_better'] else '↓'}"


def _quality(numbers: Mapping[str, Any], metric: Mapping[str, Any], separator: str = " ") -> str:
    places = _decimal_places(metric)
    text = f"{numbers['quality']:.{places}f}"
    if "quality_interval" in numbers:
        low, high = numbers["quality_interval"]
        text += f"{separator}[{low:.{places}f}, {high:.{places}f}]"
    return text


def _difference(numbers: Mapping[str, Any], metric: Mapping[str, Any], separator: str = " ") -> str:
    places = _decimal_places(metric)
    text = f"{numbers['difference']:+.{places}f}"
    if "difference_interval" in numbers:
        low, high = numbers["difference_interval"]
        text += f"{separator}[{low:+.{places}f}, {high:+.{places}f}]"
    return text


def _decimal_places(metric: Mapping[str, Any]) -> int:
    """KID is a hundredth of one for good images: three decimals would show nothing."""
    return 5 if metric["name"] == "kid" else 3


def _coloured(numbers: Mapping[str, Any] | None, metric: Mapping[str, Any], separator: str) -> str | Text:
    """Green if the whole interval is better than uncached, red if worse."""
    if numbers is None:
        return _NONE
    low, high = numbers.get("difference_interval", (0.0, 0.0))
    sign = 1 if metric["higher_is_better"] else -1
    gains: Sequence[float] = sorted((sign * low, sign * high))
    style = "green" if gains[0] > 0 else "red" if gains[1] < 0 else ""
    return Text(_difference(numbers, metric, separator), style=style)


def _macs(macs: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if macs >= size:
            return f"{macs / size:.3g} {unit}"
    return str(macs)


def _plain(text: str) -> str:
    """Without what would end a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
