"""Which preset a schedule of the official ECAD implementation was made for, as far as its config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecad.models import PRESETS, Preset
from ecad.models.presets import ALIASES

_WEIGHTS_KEYS = ("transformer_weights", "pipeline")  # the more exact one first


def model_of_config(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """`Schedule.model` of an official file: name, height and width in pixels, each only where it is known.

    A PixArt transformer has a resolution of its own, so it follows from the weights' name and not from the
    config's height and width. A FLUX transformer serves all resolutions, so there the config decides.
    """
    presets = _candidates(family, config)
    if family == "pixart":
        if len(presets) != 1:
            return {}
        return {"name": presets[0].name, "height": presets[0].height, "width": presets[0].width}
    sizes = {key: config[key] for key in ("height", "width") if type(config.get(key)) is int}
    fitting = [preset for preset in presets if {"height": preset.height, "width": preset.width} == sizes]
    if fitting or presets:
        return {"name": (fitting or presets)[0].name, **sizes}
    return sizes


def _candidates(family: str, config: Mapping[str, Any]) -> list[Preset]:
    """The presets that the most exact entry of the config names; empty if no entry is recognised."""
    for key in _WEIGHTS_KEYS:
        value = config.get(key)
        if not isinstance(value, str) or not value:
            continue
        text = value.strip("/").rsplit("/", 1)[-1].lower().replace("_", "-")
        named = [
            preset for preset in PRESETS.values() if preset.family == family and text in _names_of(preset)
        ]
        # A repository that two presets share, one of which has a transformer of its own elsewhere.
        own = [preset for preset in named if text in _names(preset.transformer_source or preset.source)]
        if named:
            return own or named
    return []


def _names_of(preset: Preset) -> set[str]:
    aliases = {alias for alias, name in ALIASES.items() if name == preset.name}
    names = _names(preset.source) | _names(preset.transformer_source)
    return names | aliases | {preset.name, preset.pipeline_class.lower()}


def _names(hub_id: str | None) -> set[str]:
    """The last part of a hub id: what is left of a local copy's path, too."""
    return {hub_id.rsplit("/", 1)[-1].lower().replace("_", "-")} if hub_id else set()
