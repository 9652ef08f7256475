"""Tables of a run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

_KIND_STYLE = {"uncached": "bold", "front": "green", "heuristic": "yellow", "fewer-steps": "cyan"}


def summary_text(report: Mapping[str, Any]) -> Text:
    """A few lines: what was searched and what the numbers below were measured on."""
    search, heldout, environment = report["search"], report["heldout"], report["environment"]
    error = report["latency"]["prediction_error"]
    predicted = (
        ""
        if error is None
        else f"\nlatency table: {error['mean']:.1%} mean, {error['max']:.1%} largest error"
    )
    return Text(
        f"{report['model']}, {report['steps']} steps: {search['evaluations']} schedules evaluated in "
        f"{search['generations']} generations on {search['images_per_evaluation']} images ({search['prompts']})\n"
        f"below: {heldout['images']} held-out images ({heldout['prompts']}), 95 % intervals; latency per image "
        f"in batches of {report['latency']['batch_size']} on {environment['hardware']} ({environment['device']})"
        + predicted
    )


def report_table(report: Mapping[str, Any]) -> Table:
    """One row per schedule: speedups, MACs, latency, quality, and the paired difference to uncached."""
    # In 80 columns the numbers stay whole, and long names are folded.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    table.add_column("schedule", overflow="fold", min_width=10)
    headings = (
        "MACs",
        "fewer\nMACs",
        "ms an\nimage",
        "less\ntime",
        report["quality"],
        "minus uncached",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for row in report["rows"]:
        style = _KIND_STYLE.get(row["kind"], "")
        if previous not in (None, row["kind"]):
            table.add_section()
            table.add_row(Text(row["kind"], style=style))
        previous = row["kind"]
        low, high = row["quality_interval"]
        table.add_row(
            Text(row["name"], style=style),
            _macs(row["macs"]),
            f"{row['speedup_macs']:.2f}x",
            f"{row['latency_s'] * 1000:.1f}",
            f"{row['speedup_latency']:.2f}x",
            f"{row['quality']:.3f} ±{(high - low) / 2:.3f}",
            "" if row["kind"] == "uncached" else _difference(row["difference"], row["difference_interval"]),
        )
    return table


def comparison_table(report: Mapping[str, Any]) -> Table:
    """The front against heuristics and fewer steps, see `ecad.run_report`."""
    volumes = report["hypervolume"]
    low, high = volumes["front_minus_heuristic_interval"]
    table = Table(
        title=(
            f"held-out hypervolume ({volumes['cost']}): front {volumes['front']:.4f}, "
            f"heuristics {volumes['heuristic']:.4f} (difference {low:+.4f} to {high:+.4f}), "
            f"fewer steps {volumes['fewer-steps']:.4f}"
        ),
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
    for item in sorted(report["comparisons"], key=lambda item: str(item["how"])):
        if previous not in (None, item["how"]):
            table.add_section()
        previous = item["how"]
        level = f"at least {item['speedup']:g}x" if item["how"] == "level" else item["how"]
        unit = item["measure"]
        table.add_row(
            level,
            f"{item['front']} ({item['front_speedup']:.2f}x {unit})",
            f"{item['rival']} ({item['rival_speedup']:.2f}x)",
            _difference(item["difference"], item["difference_interval"]),
        )
    return table


def _difference(mean: float, interval: Sequence[float]) -> Text:
    low, high = interval
    style = "green" if low > 0 else "red" if high < 0 else ""
    return Text(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", style=style)


def _macs(macs: int) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if macs >= size:
            return f"{macs / size:.3g} {unit}"
    return str(macs)
