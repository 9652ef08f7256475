"""T-GATE by its authors' package: cross- and self-attention, and no unconditional half after the gate step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from bench import Bench
from peer import Call, DoesNotFitError, Setting

NAME = "T-GATE"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    try:
        package = import_module("tgate")
    except ImportError as error:
        raise DoesNotFitError(f"cannot be imported: {error}") from None
    load = getattr(package, f"Tgate{type(bench.pipe).__name__.removesuffix('Pipeline')}Loader", None)
    if load is None:
        loaders = ", ".join(sorted(name for name in vars(package) if name.endswith("Loader")))
        raise DoesNotFitError(f"tgate has no loader for a {type(bench.pipe).__name__}, only {loaders}")
    kinds = {
        "gate 10": {"gate_step": 10},
        "gate 15": {"gate_step": 15},
        "gate 10, self 2": {"gate_step": 10, "fi_interval": 2},
    }
    return [Setting(name, partial(_gated, bench, load, options)) for name, options in kinds.items()]


@contextmanager
def _gated(bench: Bench, load, options: dict[str, int]) -> Iterator[Call]:
    """It has no switch-off: what it replaced stays replaced until somebody restores it."""
    load(bench.pipe)
    yield Call({**options}, bench.pipe.tgate)
