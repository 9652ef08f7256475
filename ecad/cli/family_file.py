"""The option `--family` of the commands that load a model or a schedule."""

from __future__ import annotations

from pathlib import Path

HELP = "Family file of a transformer that ecad does not know (ecad models --inspect writes one)."


def use_family(path: Path | None) -> None:
    """Make the family in this file known. ModelError if it cannot be read or its name or class is known otherwise."""
    if path is None:
        return
    from ecad.families import load_family
    from ecad.families.registry import use

    use(load_family(path))
