"""`ecad doctor`: what can be used on this machine, and what is missing for the rest."""

from __future__ import annotations

import typer


def doctor(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Say which quality metrics can be used here, and what is missing for the others."""
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ecad.evaluation.scorers.availability import availability

    found = availability()
    if as_json:
        print(json.dumps({"scorers": [asdict(item) for item in found]}, indent=2))
        return
    table = Table()
    for heading in ("metric", "usable", "what was found, or what is missing"):
        table.add_column(heading, no_wrap=heading == "metric", overflow="fold")
    for item in found:
        versions = ", ".join(f"{package} {version}" for package, version in item.versions.items())
        detail = f"{item.detail} [{versions}]" if versions else item.detail
        # Text, not markup: a path or a message may hold square brackets.
        table.add_row(item.name, "yes" if item.available else "no", Text(f"{item.description}\n{detail}"))
    Console().print(table)
