"""Which schedule of a run's front a user wants, with its held-out numbers."""

from __future__ import annotations

from typing import Any

from ecad.errors import ConfigError
from ecad.measuring.rows import Kind, Measure, Row
from ecad.report.search_report import SearchReport
from ecad.schedule import Schedule
from ecad.storage import RunFolder


def best_at(report: SearchReport, speedup: float, by: Measure) -> Row:
    """The best row of the front that is at least so much faster than uncached; ConfigError if none is.

    The front's order is the search's, the dearest first: the held-out numbers stay an unbiased estimate for the choice.
    """
    rows = report.of_kind(Kind.FRONT)
    fast_enough = [row for row in rows if row.speedup(by) >= speedup]
    if not fast_enough:
        fastest = max((row.speedup(by) for row in rows), default=0.0)
        raise ConfigError(
            f"no schedule of the front is {speedup:g}x faster in {by}: the fastest is {fastest:.2f}x"
        )
    return fast_enough[0]


def schedule_with_numbers(folder: RunFolder, report: SearchReport, row: Row) -> Schedule:
    """The row's schedule, its held-out numbers in its provenance."""
    schedule = folder.read_front()[row.name]
    return schedule.replace(provenance={**schedule.provenance, "heldout": _heldout(report, row)})


def _heldout(report: SearchReport, row: Row) -> dict[str, Any]:
    quality = row.metrics[report.quality]
    return {
        "prompts": report.heldout["prompts"],
        "images": report.heldout["images"],
        report.quality: quality.mean,
        "interval": list(quality.interval or ()),
        "difference_to_uncached": quality.difference,
        "difference_interval": list(quality.difference_interval or ()),
        "speedup_macs": row.speedup_macs,
        "speedup_latency": row.speedup_latency,
        "hardware": report.environment["hardware"],
    }
