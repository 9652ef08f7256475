"""From a comparison's rows to the marks of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ecad.measuring.rows import Kind, Row
from ecad.report import row_table
from ecad.report.page.content import GROUPS, Group, Mark, Measure
from ecad.report.results import MetricColumn
from ecad.report.row_table import Column
from ecad.report.samples import SAMPLES, file_name, row_folder, small_picture
from ecad.schedule import Schedule

PAPER = "paper:"
# Group of the heuristics of a kind, where that is not "heuristics".
_SIMPLE = {"smooth": "smooth", "mask": "masks", "output": "masks", "denoised": "masks"}


def measures_of(rows: Sequence[Row]) -> list[Measure]:
    """MACs and measured time, and time on paper where the rows have it."""
    names = dict.fromkeys(name for row in rows for name in row.paper_s)
    return [measure_named(key) for key in ("macs", "latency", *(PAPER + name for name in names))]


def measure_named(key: str) -> Measure:
    """Of a key of `Mark.speedups`."""
    if key == "macs":
        return Measure(key, "MACs", "times fewer MACs than uncached")
    if key == "latency":
        return Measure(key, "measured time", "times faster than uncached, measured")
    name = key.removeprefix(PAPER)
    return Measure(key, f"time on paper, {name}", f"times faster than uncached, on paper ({name})")


def cost_measure(cost: str) -> str:
    """The measure that a search's `--cost` is."""
    return cost.removesuffix(":compiled") + (", compiled" if cost.endswith(":compiled") else "")


def columns_of(rows: Sequence[Row], metrics: Sequence[MetricColumn]) -> list[Column]:
    """The columns of the table beside the plot."""
    [uncached] = [row for row in rows if row.kind is Kind.UNCACHED][:1] or [rows[0]]
    columns = [
        Column("schedule", lambda row: row.name, is_number=False),
        Column("kind", lambda row: group_of(row).label, is_number=False),
        Column("steps", lambda row: str(row.steps)),
        Column("fewer MACs", row_table.speedup_macs),
        Column("ms per image", row_table.milliseconds),
        Column("less time", row_table.speedup_latency_with_range),
    ]
    for name in dict.fromkeys(name for row in rows for name in row.paper_s):
        columns.append(Column(f"on paper, {name}", _on_paper(name, uncached)))
    for metric in metrics:
        columns.append(Column(metric.name, row_table.quality(metric)))
        if metric.has_difference:
            columns.append(Column(_difference_heading(metric, metrics), row_table.difference(metric)))
    return columns


def marks_of(
    rows: Sequence[Row],
    metrics: Sequence[MetricColumn],
    columns: Sequence[Column],
    schedules: Mapping[str, Schedule],
    folder: Path,
) -> list[Mark]:
    """One per row, with the schedules by the row's name as far as they are known, and the folder's pictures."""
    uncached = next((row for row in rows if row.kind is Kind.UNCACHED), None)
    return [
        Mark(
            id=f"row-{place}",
            name=row.name,
            group=group_of(row),
            speedups=_speedups(row, uncached),
            qualities={
                metric.name: _mean_and_interval(row, metric.name)
                for metric in metrics
                if metric.name in row.metrics
            },
            cells=[str(column.cell(row)) for column in columns],
            use=use_of(row.name, row.kind, row.steps, schedules.get(row.name)),
            schedule=schedules.get(row.name),
            file_name=file_name(row.name) + ".yaml",
            pictures=pictures_in(folder / SAMPLES / row_folder(place, row.name)),
        )
        for place, row in enumerate(rows)
    ]


def group_of(row: Row) -> Group:
    key = {
        Kind.UNCACHED: "uncached",
        Kind.FRONT: "front",
        Kind.SCHEDULE: "schedules",
        Kind.HEURISTIC: "heuristics",
        Kind.FEWER_STEPS: "fewer",
        Kind.MORE_STEPS: "fewer",
        Kind.BASELINE: "others",
    }[row.kind]
    start = row.name.partition(":")[0]
    if key == "heuristics":
        key = _SIMPLE.get(start, key)
    elif key == "fewer" and "," in row.name:
        key = "uneven"
    return GROUPS[key]


def use_of(name: str, kind: Kind, steps: int, schedule: Schedule | None) -> str:
    """A line of Python; a sentence where one line does not do."""
    if schedule is not None:
        return f'ecad.apply(pipe, "{file_name(name)}.yaml")'
    if kind is Kind.UNCACHED:
        return "ecad.remove(pipe)"
    if kind in (Kind.FEWER_STEPS, Kind.MORE_STEPS) and "," not in name:
        return f"image = pipe(prompt, num_inference_steps={steps}).images[0]"
    return ""


def pictures_in(folder: Path) -> dict[int, bytes]:
    """Prompt's number -> the content of a small image file; what cannot be read is left out."""
    from PIL import Image

    found: dict[int, bytes] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        number = path.stem.partition("-")[0]
        if not number.isdigit():
            continue
        try:
            if path.suffix in (".webp", ".jpg"):
                found[int(number)] = path.read_bytes()
            elif path.suffix == ".png":
                with Image.open(path) as image:
                    found[int(number)] = small_picture(image)
        except (OSError, ValueError, SyntaxError):
            continue
    return found


def _speedups(row: Row, uncached: Row | None) -> dict[str, float]:
    speedups = {"latency": row.speedup_latency}
    if row.speedup_macs is not None:
        speedups["macs"] = row.speedup_macs
    for name, seconds in row.paper_s.items():
        if uncached is not None and name in uncached.paper_s and seconds > 0:
            speedups[PAPER + name] = uncached.paper_s[name] / seconds
    return speedups


def _mean_and_interval(row: Row, metric: str) -> tuple[float, float, float]:
    numbers = row.metrics[metric]
    low, high = numbers.interval or (numbers.mean, numbers.mean)
    return numbers.mean, low, high


def _on_paper(name: str, uncached: Row) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if name not in row.paper_s or name not in uncached.paper_s:
            return row_table.NONE
        return f"{uncached.paper_s[name] / row.paper_s[name]:.2f}x"

    return cell


def _difference_heading(metric: MetricColumn, metrics: Sequence[MetricColumn]) -> str:
    return "minus uncached" if len(metrics) == 1 else f"{metric.name} minus uncached"
