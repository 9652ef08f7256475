"""`ecad families`: the transformer classes that ecad knows, and what it can do with each."""

from __future__ import annotations

import typer

_WIDTH_OF_TABLE = 140


def families(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """List the transformer classes that schedules can be applied to, and what can be cached in them.

    \b
    Examples:
      ecad families
      ecad families --json
    """
    import json

    from rich.console import Console
    from rich.table import Table

    from ecad.caching.blocks import has_fast_path
    from ecad.families import FAMILIES

    found = sorted(FAMILIES.values(), key=lambda family: (family.level, family.name))
    if as_json:
        records = [
            {
                "family": family.name,
                "transformer_classes": list(family.transformer_classes),
                "components": {each.name: list(each.component_names) for each in family.block_lists},
                "level": family.level,
                "fast_path": has_fast_path(family),
                "summed_runs": family.sums_up,
            }
            for family in found
        ]
        print(json.dumps(records, indent=2))
        return
    console = Console()
    closing = "complete: found by name, costs known before anything is loaded; known: any local pipeline."
    if console.width < _WIDTH_OF_TABLE:  # its cells would be cut inside names
        for family in found:
            further = [
                name
                for name, has in (("fast path", has_fast_path(family)), ("summed runs", family.sums_up))
                if has
            ]
            print(
                f"{family.name} ({', '.join([family.level, *further])}): {', '.join(family.transformer_classes)}"
            )
            for each in family.block_lists:
                print(f"    {each.name}: {', '.join(each.component_names)}")
        print(closing)
        return
    table = Table()
    for heading in ("family", "transformer", "components", "level", "fast path", "summed runs"):
        table.add_column(heading, no_wrap=heading not in ("transformer", "components"), overflow="fold")
    for family in found:
        table.add_row(
            family.name,
            "\n".join(family.transformer_classes),
            "\n".join(f"{each.name}: {', '.join(each.component_names)}" for each in family.block_lists),
            family.level,
            "yes" if has_fast_path(family) else "no",
            "yes" if family.sums_up else "no",
        )
    console.print(table)
    console.print(closing)
