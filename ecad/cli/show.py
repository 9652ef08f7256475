"""`ecad show`: the front of a run as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ecad.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from ecad.storage import RunFolder


def show(
    run: Path = typer.Argument(help="Run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print the tables as Markdown."),
) -> None:
    """Show the front of a run: speedups, MACs, latency and quality on held-out prompts.

    Of a search that is not finished: the front so far, on the prompts that it searches on.

    \b
    Examples:
      ecad show runs/pixart-mini
      ecad show runs/pixart-mini --markdown > front.md
    """
    from rich.console import Console

    from ecad.report.search_report import SearchReport
    from ecad.report.search_tables import comparison_table, report_markdown, report_table, summary_text
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    if as_json and as_markdown:
        raise ConfigError("--json and --markdown are two forms of the same tables: give one of them")
    # Into a file or a pipe the tables keep their width instead of folding at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 120)
    content = folder.read_json("report.json")
    if content is None:
        _unfinished(folder, console, as_json, as_markdown)
        return
    report = SearchReport.from_json(content, str(run / "report.json"))
    if as_json:
        print(json.dumps(content, indent=1))
        return
    if as_markdown:
        print(report_markdown(report), end="")
        return
    console.print(summary_text(report), highlight=False, markup=False)
    console.print(report_table(report))
    console.print(comparison_table(report))


def _unfinished(folder: RunFolder, console: Console, as_json: bool, as_markdown: bool) -> None:
    """The front so far, and that it is so."""
    from ecad.cli.status import read_status, state_line
    from ecad.report.unfinished_tables import (
        FrontPoint,
        unfinished_markdown,
        unfinished_table,
        unfinished_text,
    )
    from ecad.searching.unfinished import front_so_far

    status = read_status(folder.path)
    settings = folder.read_config().get("settings") or {}
    cost, quality = settings.get("cost", "macs"), settings.get("quality") or "quality"
    points = [
        FrontPoint(each.generation, each.index, found.cost, found.quality, found.macs, found.latency_s)
        for each in front_so_far(folder)
        for found in [each.evaluation]
    ]
    last = max((each.generation for each in folder.logged()), default=0)
    state = (
        f"{state_line(status)}; not finished: {status['logged_evaluations']} evaluations, in generation {last} of "
        f"{settings.get('generations', '?')}"
    )
    if as_json:
        content = {
            "finished": False,
            "evaluations": status["logged_evaluations"],
            "generation": last,
            "generations": settings.get("generations"),
            "cost": cost,
            "quality": quality,
            "front": [point.to_json() for point in points],
        }
        print(json.dumps(content, indent=1))
    elif as_markdown:
        print(unfinished_markdown(state, points, cost, quality), end="")
    elif not points:
        print(state)
    else:
        console.print(unfinished_text(state), highlight=False, markup=False, soft_wrap=True)
        console.print(unfinished_table(points, cost, quality))
