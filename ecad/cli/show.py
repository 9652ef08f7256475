"""`ecad show`: the front of a run as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer


def show(
    run: Path = typer.Argument(help="Run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
) -> None:
    """Show the front of a run: speedups, MACs, latency and quality on held-out prompts."""
    from rich.console import Console

    from ecad.report.tables import comparison_table, report_table, summary_text
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    report = folder.read_report()
    if as_json:
        print(json.dumps(report, indent=1))
        return
    # Into a file or a pipe the tables keep their width instead of folding at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(summary_text(report))
    console.print(report_table(report))
    console.print(comparison_table(report))
