"""Rows as a table: one renderer for the terminal and for Markdown, for searches and for evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from ecad.measuring.rows import Kind, Quality, Row
from ecad.report.results import MetricColumn

KIND_STYLE = {
    Kind.UNCACHED: "bold",
    Kind.FRONT: "green",
    Kind.SCHEDULE: "green",
    Kind.HEURISTIC: "yellow",
    Kind.FEWER_STEPS: "cyan",
    Kind.MORE_STEPS: "cyan",
    Kind.BASELINE: "magenta",
}
NONE = "–"  # in the place of a number that does not exist
LONGEST_NAME = 32  # of a row, in characters; longer ones are folded


@dataclass(frozen=True)
class Column:
    """`cell` gives a row's text. Numbers stand at the right and are not folded; `heading` may have two lines."""

    heading: str
    cell: Callable[[Row], str | Text]
    is_number: bool = True
    min_width: int | None = None


def terminal_table(
    rows: Sequence[Row], columns: Sequence[Column], *, names_kinds: bool, narrow: bool
) -> Table:
    """Rows of a kind together; with `names_kinds` a line of its own says which kind follows."""
    padding = (0, 0, 0, 1) if narrow else (0, 1)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=not narrow)
    for column in columns:
        if column.is_number:
            table.add_column(column.heading, justify="right", no_wrap=True)
        else:
            table.add_column(column.heading, overflow="fold", min_width=column.min_width)
    previous: Kind | None = None
    for row in rows:
        if previous not in (None, row.kind):
            table.add_section()
            if names_kinds:
                table.add_row(Text(row.kind.value, style=KIND_STYLE[row.kind]))
        previous = row.kind
        table.add_row(*(column.cell(row) for column in columns))
    return table


def markdown_table(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """The same as lines of Markdown."""
    return markdown_lines(
        [" ".join(column.heading.split()) for column in columns],
        [[str(column.cell(row)) for column in columns] for row in rows],
        [column.is_number for column in columns],
    )


def markdown_lines(
    headings: Sequence[str], cells: Sequence[Sequence[str]], is_number: Sequence[bool]
) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("|" + "|".join("---:" if number else "---" for number in is_number) + "|")
    return lines + ["| " + " | ".join(map(plain, line)) + " |" for line in cells]


def plain(text: str) -> str:
    """Without what would end a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


# --- what columns say ---


def name(row: Row) -> Text:
    return Text(row.name, style=KIND_STYLE[row.kind])


def kind(row: Row) -> Text:
    return Text(row.kind.value, style=KIND_STYLE[row.kind])


def macs(row: Row) -> str:
    return NONE if row.macs is None else amount(row.macs)


def amount(number: int) -> str:
    """In three digits: 5.16 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def speedup_macs(row: Row) -> str:
    return NONE if row.speedup_macs is None else f"{row.speedup_macs:.2f}x"


def milliseconds(row: Row) -> str:
    """With the quartiles, where the row has them: 80 (79-84)."""
    if row.latency_spread is None:
        return f"{row.latency_s * 1000:.1f}"
    decimals = 0 if row.latency_s >= 0.02 else 1
    middle, low, high = (
        f"{1000 * seconds:.{decimals}f}"
        for seconds in (row.latency_s, row.latency_spread.low_s, row.latency_spread.high_s)
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def timings_note(rows: Sequence[Row], how: str | None) -> str:
    """`how` the times of the rows were measured, and how many timings that took; "" for rows of older versions."""
    spreads = [row.latency_spread for row in rows if row.latency_spread is not None]
    if how is None or not spreads:
        return ""
    left_out, timings = (sum(each) for each in zip(*((s.left_out, s.timings) for s in spreads), strict=True))
    return f"{how} ({left_out} of {timings} left out)"


def speedup_latency(row: Row) -> str:
    return f"{row.speedup_latency:.2f}x"


def speedup_latency_with_range(row: Row) -> str:
    low, high = row.speedup_latency_range
    return speedup_latency(row) + (f" ({low:.2f}-{high:.2f})" if low != high else "")


def peak_gib(row: Row) -> str:
    return NONE if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**30:.2f}"


def quality(metric: MetricColumn, separator: str = " ") -> Callable[[Row], str]:
    """The mean with its interval."""

    def cell(row: Row) -> str:
        numbers = row.metrics.get(metric.name)
        if numbers is None:
            return NONE
        text = f"{numbers.mean:.{metric.decimals}f}"
        if numbers.interval is not None:
            text += separator + bracketed(numbers.interval, metric.decimals, "")
        return text

    return cell


def half_interval(metric: MetricColumn) -> Callable[[Row], str]:
    """The mean with half of its interval's width, which takes less room."""

    def cell(row: Row) -> str:
        numbers = row.metrics[metric.name]
        low, high = numbers.interval or (numbers.mean, numbers.mean)
        return f"{numbers.mean:.{metric.decimals}f} ±{(high - low) / 2:.{metric.decimals}f}"

    return cell


def difference(metric: MetricColumn, separator: str = " ") -> Callable[[Row], str | Text]:
    """The difference to uncached: green if its whole interval is better, red if worse."""

    def cell(row: Row) -> str | Text:
        numbers = row.metrics.get(metric.name)
        if row.kind is Kind.UNCACHED:
            return ""
        if numbers is None or numbers.difference is None:
            return NONE
        return difference_text(numbers, metric, separator)

    return cell


def difference_text(numbers: Quality, metric: MetricColumn, separator: str = " ") -> Text:
    return coloured(
        numbers.difference or 0.0,
        numbers.difference_interval,
        metric.decimals,
        sign=1 if metric.higher_is_better else -1,
        separator=separator,
    )


def coloured(
    mean: float,
    interval: tuple[float, float] | None,
    decimals: int = 3,
    *,
    sign: int = 1,
    separator: str = " ",
) -> Text:
    """A difference with its interval; `sign` is -1 where less is better."""
    text = f"{mean:+.{decimals}f}"
    if interval is None:
        return Text(text)
    low, high = sorted((sign * interval[0], sign * interval[1]))
    style = "green" if low > 0 else "red" if high < 0 else ""
    return Text(text + separator + bracketed(interval, decimals, "+"), style=style)


def bracketed(interval: tuple[float, float], decimals: int, sign: str) -> str:
    low, high = interval
    return f"[{low:{sign}.{decimals}f}, {high:{sign}.{decimals}f}]"
