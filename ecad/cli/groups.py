"""The options of commands that have many, in groups for --help: what nobody needs at first is not in the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import TypeVar

from typer.models import OptionInfo

Command = TypeVar("Command", bound=Callable[..., None])

_PROMPTS = "Prompts and images"
_SEARCH = "How it searches"
_WHERE = "Where and how it runs"
_OTHERS = "More"
_ORDER = (None, _PROMPTS, _SEARCH, _WHERE, _OTHERS)

_IMAGES = dict.fromkeys(
    ("steps", "guidance_scale", "guidance_scale_2", "true_cfg_scale", "height", "width", "num_frames"),
    _PROMPTS,
)
_LOADING = dict.fromkeys(("dtype", "device_map", "embedding_cache", "batch_size"), _WHERE)

# Parameter -> group; the rest is the first group.
SEARCH: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "prompts_limit",
            "selection_limit",
            "seeds_per_prompt",
            "heldout_limit",
            "heldout_seeds_per_prompt",
            "prompts_format",
            "heldout_prompts_format",
        ),
        _PROMPTS,
    ),
    **_IMAGES,
    **dict.fromkeys(
        ("population", "seed", "mutation_rate", "granularity", "start_from", "calibration", "latency_table"),
        _SEARCH,
    ),
    **_LOADING,
    **dict.fromkeys(
        (
            "ray_address",
            "gpus_per_worker",
            "threads",
            "unit_timeout",
            "together",
            "asynchronous",
            "summed_runs",
        ),
        _WHERE,
    ),
    **dict.fromkeys(("family", "config", "page"), _OTHERS),
}
EVALUATE: Mapping[str, str] = {
    **dict.fromkeys(
        ("prompts_limit", "prompts_format", "category", "seeds", "first_seed", "samples"), _PROMPTS
    ),
    **_IMAGES,
    **_LOADING,
    **dict.fromkeys(("family", "calibration", "reference", "page"), _OTHERS),
}
GENERATE: Mapping[str, str] = {
    **{name: group for name, group in _IMAGES.items() if name != "steps"},
    **_LOADING,
    **dict.fromkeys(("family", "calibration", "repeats", "fps"), _OTHERS),
}


def grouped(command: Command, groups: Mapping[str, str]) -> Command:
    """The command, its options in these groups, which come in the order of `_ORDER`."""
    declared = signature(command)
    for name, parameter in declared.parameters.items():
        if name in groups and isinstance(parameter.default, OptionInfo):
            parameter.default.rich_help_panel = groups[name]
    # Typer shows the groups in the order of their first options.
    ordered = sorted(declared.parameters.values(), key=lambda each: _ORDER.index(groups.get(each.name)))
    command.__signature__ = declared.replace(parameters=ordered)  # type: ignore[attr-defined]
    return command
