"""Importing ecad stays light: a module set, not a time, so that a busy machine does not fail the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ecad

HEAVY = {"accelerate", "diffusers", "matplotlib", "pymoo", "ray", "torch", "transformers"}
ARRAYS = {"PIL", "numpy", "yaml"}  # what the command line needs only once it has something to do


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after `statement`, with the ecad that is tested here."""
    code = f"{statement}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    where = Path(ecad.__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where)},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def command(*arguments: str) -> str:
    """The statements that run `ecad` with these arguments, up to its exit."""
    return (
        f"import contextlib, sys; sys.argv = {['ecad', *arguments]!r}; from ecad.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main()"
    )


@pytest.mark.parametrize(
    ("statement", "must_not_load"),
    [
        ("import ecad", HEAVY | {"numpy", "yaml", "rich", "typer"}),
        ("import ecad; ecad.load_schedule", HEAVY | {"rich", "typer"}),
        ("import ecad; ecad.search, ecad.SearchResult", HEAVY),
        ("import ecad.genetic", HEAVY),
        ("import ecad.storage, ecad.execution, ecad.searching.settings", HEAVY | {"rich", "typer"}),
        ("import ecad.searching.run", HEAVY | {"rich", "typer"}),
        ("import ecad.cli.main", HEAVY | ARRAYS),
        (command("--version"), HEAVY | ARRAYS),
        (command("--help"), HEAVY | ARRAYS),
        (command("schedule", "new", "--help"), HEAVY | ARRAYS),
        # What only the extra `search` brings: `ecad evaluate` works without it.
        ("import ecad.evaluating.run", {"matplotlib", "pymoo", "ray", "threadpoolctl"}),
    ],
)
def test_importing_loads_nothing_heavy(statement: str, must_not_load: set[str]):
    assert loaded_by(statement) & must_not_load == set()


def test_the_check_sees_a_heavy_import():
    assert "numpy" in loaded_by("import ecad, numpy")
