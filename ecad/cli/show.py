"""`ecad show`: the front of a run as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from ecad.errors import ConfigError


def show(
    run: Path = typer.Argument(help="Run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print the tables as Markdown."),
) -> None:
    """Show the front of a run: speedups, MACs, latency and quality on held-out prompts."""
    from rich.console import Console

    from ecad.report.search_report import SearchReport
    from ecad.report.search_tables import comparison_table, report_markdown, report_table, summary_text
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    content = folder.read_report()
    if as_json and as_markdown:
        raise ConfigError("--json and --markdown are two forms of the same tables: give one of them")
    report = SearchReport.from_json(content, str(run / "report.json"))
    if as_json:
        print(json.dumps(content, indent=1))
        return
    if as_markdown:
        print(report_markdown(report), end="")
        return
    # Into a file or a pipe the tables keep their width instead of folding at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(summary_text(report), highlight=False, markup=False)
    console.print(report_table(report))
    console.print(comparison_table(report))
