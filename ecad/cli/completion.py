"""What the shell completes: names of models, schedules, prompts, metrics and heuristics, and choices.

`ecad --install-completion` makes the shell ask. Nothing heavy is loaded for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import TypeVar

from rich.markup import escape
from typer.models import ParameterInfo

Completion = Callable[[str], list[str]]
Command = TypeVar("Command", bound=Callable[..., None])

_HEURISTICS = ("all", "fora:", "attn:", "tgate:", "random:", "mask:", "output:", "denoised:", "smooth:")


def models(incomplete: str) -> list[str]:
    from ecad.families import list_models

    return _matching(incomplete, (preset.name for preset in list_models()))


def schedules(incomplete: str) -> list[str]:
    """Bundled ones."""
    from ecad.resources import list_schedules

    return _matching(incomplete, list_schedules())


def heuristics(incomplete: str) -> list[str]:
    return _matching(incomplete, _HEURISTICS)


def schedules_or_heuristics(incomplete: str) -> list[str]:
    return schedules(incomplete) + heuristics(incomplete)


def rows(incomplete: str) -> list[str]:
    """What `ecad evaluate` compares."""
    return schedules_or_heuristics(incomplete) + _matching(incomplete, ["steps:"])


def prompts(incomplete: str) -> list[str]:
    """Bundled sets."""
    from ecad.resources import list_prompts

    return _matching(incomplete, list_prompts())


def qualities(incomplete: str) -> list[str]:
    from ecad.scoring.registry import metric_names

    return _matching(incomplete, metric_names("image"))


def metrics(incomplete: str) -> list[str]:
    """The last of several with commas between them."""
    from ecad.scoring.registry import METRICS

    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [before + comma + name for name in _matching(last, METRICS) if name not in taken]


def _choices(*names: str) -> Completion:
    return lambda incomplete: _matching(incomplete, names)


# By the parameter's name, in every command; a command's own come first.
_EVERYWHERE: dict[str, Completion] = {
    "model": models,
    "schedule": schedules_or_heuristics,
    "schedules": rows,
    "prompts": prompts,
    "heldout_prompts": prompts,
    "quality": qualities,
    "metrics": metrics,
    "start_from": schedules,
    "cost": _choices("macs", "latency", "paper:H100", "paper:A6000", "paper:H100:compiled"),
    "dtype": _choices("auto", "float32", "float16", "bfloat16"),
    "device": _choices("auto", "cpu", "cuda", "mps"),
    "device_map": _choices("balanced"),
    "granularity": _choices("blocks", "components", "steps"),
    "workers": _choices("auto", "none"),
    "by": _choices("macs", "latency"),
}


def completed(command: Command, **own: Completion) -> Command:
    """The command, its parameters with what completes them; in their help a bracket is a bracket and no markup."""
    for name, parameter in signature(command).parameters.items():
        info = parameter.default
        if not isinstance(info, ParameterInfo):
            continue
        completion = own.get(name, _EVERYWHERE.get(name))
        if completion is not None and info.autocompletion is None:
            info.autocompletion = completion
        info.help = None if info.help is None else escape(info.help)
    return command


def _matching(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
