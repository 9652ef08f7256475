"""`ecad doctor`: what can be used on this machine, and what is missing for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer


def doctor(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables.")) -> None:
    """Say what this machine has (versions, devices, memory, disk, Ray), and which quality metrics can be used here.

    \b
    Examples:
      ecad doctor
      ecad doctor --json > machine.json
    """
    import json

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ecad.measuring.environment import versions
    from ecad.measuring.machine import machine
    from ecad.scoring.availability import availability

    facts = machine()
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
        print(json.dumps({**facts, "scorers": scorers}, indent=2))
        return
    console = Console()
    grid = Table()
    for heading in ("", "name", "what was found"):
        grid.add_column(heading, overflow="fold")
    for section, names in facts.items():
        for number, (name, text) in enumerate(_lines(section, names)):
            # Text, not markup: a path or a message may hold square brackets.
            grid.add_row(section if number == 0 else "", Text(name), Text(text))
        grid.add_section()
    console.print(grid)
    table = Table()
    for heading in ("metric", "usable", "what was found, or what is missing"):
        table.add_column(heading, no_wrap=heading == "metric", overflow="fold")
    for item in found:
        name, of_packages = item.metric.name, versions_of[item.metric.name]
        installed = ", ".join(f"{package} {version}" for package, version in of_packages.items())
        detail = f"{item.detail} [{installed}]" if installed else item.detail
        table.add_row(name, "yes" if item.available else "no", Text(f"{item.metric.says}\n{detail}"))
    console.print(table)


def _lines(section: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of what was found."""
    if section == "ray":
        where = facts["address"] or "no RAY_ADDRESS: a search with workers starts a cluster of its own"
        absent = "missing: pip install 'ecad[search]'"
        yield "ray", absent if facts["version"] == "missing" else f"{facts['version']}; {where}"
    elif section == "hub":
        yield "address", facts["address"] + ("; HF_HUB_OFFLINE is set" if facts["offline"] else "")
    elif section == "browser":
        absent = "no Chromium: only the tests of the report page need one"
        yield "chromium", absent if facts["path"] is None else f"{facts['version']} ({facts['path']})"
    else:
        for name, value in facts.items():
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        label = value.get("name") or value.get("folder")
        sizes = ", ".join(f"{_gb(value[key])} {key}" for key in ("total", "free") if key in value)
        return f"{label}: {sizes}"
    return _gb(value) if isinstance(value, int) and value > 10_000 else str(value)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
