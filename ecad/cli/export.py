"""`ecad export`: one schedule of a run's front as a file."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.errors import ConfigError


def export(
    run: Path = typer.Argument(help="Run folder."),
    speedup: float = typer.Option(
        ..., help="The best schedule that is at least this much faster than uncached."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="Schedule file to write."),
    by: str = typer.Option("macs", help="Kind of speedup: macs (exact) or latency (as measured in the run)."),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write one schedule of the front to a file, with its held-out numbers.

    \b
    Examples:
      ecad export runs/pixart-mini --speedup 2 -o fast.yaml
      ecad export runs/pixart-mini --speedup 2 --by latency -o fast.yaml
    """
    from ecad.report.search_report import SearchReport
    from ecad.schedule import save_schedule
    from ecad.searching.choice import best_at, schedule_with_numbers
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    report = SearchReport.from_json(folder.read_report(), str(run / "report.json"))
    if by not in ("macs", "latency"):
        raise ConfigError(f"--by must be macs or latency, not {by!r}")
    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")
    row = best_at(report, speedup, "latency" if by == "latency" else "macs")
    save_schedule(schedule_with_numbers(folder, report, row), out)
    quality = row.metrics[report.quality]
    low, high = quality.difference_interval or (0.0, 0.0)
    print(
        f"{out}: {row.speedup_macs:.2f}x in MACs, {row.speedup_latency:.2f}x in latency, "
        f"{report.quality} {quality.mean:.3f} ({quality.difference:+.3f} to uncached, "
        f"95 % interval {low:+.3f} to {high:+.3f})"
    )
