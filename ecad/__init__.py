"""ecad learns cache schedules for diffusion transformers and applies them to diffusers pipelines.

    import ecad
    ecad.apply(pipe, "fast.yaml")        # from now on the pipeline reuses outputs as the schedule says
    ecad.remove(pipe)                    # the untouched pipeline again, bit for bit
    with ecad.applied(pipe, schedule):   # the same, for one block of code
        pipe("a red bicycle")
    ecad.search("pixart-mini")           # what the commands `ecad search` and `ecad evaluate` do
    ecad.evaluate("pixart-mini", ["fora:3", "steps:10"], "results")

Importing this package is light: torch and diffusers are loaded at the first use of a function that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecad.errors import (
    ConfigError,
    EcadError,
    ModelError,
    RunError,
    ScheduleError,
    StopRun,
    TransientEvaluationError,
)

if TYPE_CHECKING:
    from ecad.caching.install import AppliedSchedule, applied, apply, remove
    from ecad.functions.evaluate import EvaluationProgress, EvaluationResult, evaluate
    from ecad.functions.search import search
    from ecad.functions.search_result import FrontMember, SearchResult
    from ecad.progress import Progress
    from ecad.schedule.files import load_schedule
    from ecad.schedule.heuristics import heuristic
    from ecad.schedule.schedule import Schedule

__version__ = "0.1.0"

# Public name -> module that defines it; resolved at first access (PEP 562), which keeps the import light.
_LAZY = {
    "AppliedSchedule": "ecad.caching.install",
    "applied": "ecad.caching.install",
    "apply": "ecad.caching.install",
    "remove": "ecad.caching.install",
    "evaluate": "ecad.functions.evaluate",
    "EvaluationProgress": "ecad.functions.evaluate",
    "EvaluationResult": "ecad.functions.evaluate",
    "search": "ecad.functions.search",
    "FrontMember": "ecad.functions.search_result",
    "SearchResult": "ecad.functions.search_result",
    "Progress": "ecad.progress",
    "heuristic": "ecad.schedule.heuristics",
    "load_schedule": "ecad.schedule.files",
    "Schedule": "ecad.schedule.schedule",
}

__all__ = [
    "AppliedSchedule",
    "ConfigError",
    "EcadError",
    "EvaluationProgress",
    "EvaluationResult",
    "FrontMember",
    "ModelError",
    "Progress",
    "RunError",
    "Schedule",
    "ScheduleError",
    "SearchResult",
    "StopRun",
    "TransientEvaluationError",
    "__version__",
    "applied",
    "apply",
    "evaluate",
    "heuristic",
    "load_schedule",
    "remove",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ecad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
