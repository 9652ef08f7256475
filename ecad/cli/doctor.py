"""`ecad doctor`: what can be used on this machine, and what is missing for the rest."""

from __future__ import annotations

import typer


def doctor(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Say which quality metrics can be used here, and what is missing for the others."""
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ecad.measuring.environment import versions
    from ecad.scoring.availability import availability

    found = availability()
    versions_of = {item.metric.name: versions(*item.metric.packages) for item in found}
    if as_json:
        scorers = [
            {
                "name": item.metric.name,
                "kind": item.metric.judges,
                "description": item.metric.says,
                "available": item.available,
                "detail": item.detail,
                "versions": versions_of[item.metric.name],
            }
            for item in found
        ]
        print(json.dumps({"scorers": scorers}, indent=2))
        return
    table = Table()
    for heading in ("metric", "usable", "what was found, or what is missing"):
        table.add_column(heading, no_wrap=heading == "metric", overflow="fold")
    for item in found:
        name, of_packages = item.metric.name, versions_of[item.metric.name]
        installed = ", ".join(f"{package} {version}" for package, version in of_packages.items())
        detail = f"{item.detail} [{installed}]" if installed else item.detail
        # Text, not markup: a path or a message may hold square brackets.
        table.add_row(name, "yes" if item.available else "no", Text(f"{item.metric.says}\n{detail}"))
    Console().print(table)
