"""Which preset a model is: one rule for folders, loaded pipelines and files of others.

A preset fits if nothing that is known about the model speaks against it; what is not known does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecad.errors import EcadError
from ecad.families.family import Preset
from ecad.families.pipeline_config import read_transformer_config
from ecad.families.registry import PRESETS, get_family
from ecad.resources import minis_dir


@dataclass(frozen=True)
class Evidence:
    """What is known about a model. None, or a mapping without the key: not known.

    `names` are hub ids, paths, file names or names of pipeline classes, the most exact first: if there are any to be
    had, one of them must be the preset's. `transformer` is the transformer's config, `blocks` the number of blocks
    of each list, `size` height and width in pixels.
    """

    family: str
    names: Sequence[object] | None = None
    pipeline_class: str | None = None
    transformer: Mapping[str, Any] = field(default_factory=dict)
    blocks: Mapping[str, int] | None = None
    size: tuple[int, int] | None = None


def fitting_presets(evidence: Evidence) -> list[Preset]:
    """The presets that the model may be, those of its size first; several if they are the same files."""
    family = [preset for preset in PRESETS.values() if preset.family == evidence.family]
    classes = {preset.pipeline_class for preset in family}
    found = family if evidence.names is None else _named(family, evidence.names)
    # The class of another preset speaks against one. One that no preset has (image-to-image, ...) says nothing.
    if evidence.pipeline_class in classes:
        found = [preset for preset in found if preset.pipeline_class == evidence.pipeline_class]
    found = [preset for preset in found if _agrees(preset, evidence)]
    # A size alone decides nothing: FLUX serves all of them with the same weights.
    return sorted(found, key=lambda preset: evidence.size not in (None, (preset.height, preset.width)))


def nearest_preset(evidence: Evidence) -> Preset | None:
    """The downloadable preset whose recommendations hold best, by pipeline class and transformer config.

    None for a family without any.
    """
    family = [
        preset
        for preset in PRESETS.values()
        if preset.family == evidence.family and preset.source is not None
    ]
    same_class = [preset for preset in family if preset.pipeline_class == evidence.pipeline_class]
    # Of equals the first.
    candidates = same_class or family
    return max(candidates, key=lambda preset: shared_numbers(preset, evidence.transformer), default=None)


def shared_numbers(preset: Preset, config: Mapping[str, Any]) -> int:
    """How many numbers of the preset's architecture a transformer's config has, too."""
    return sum(_same(config.get(key), value) for key, value in preset.transformer.items())


def _agrees(preset: Preset, evidence: Evidence) -> bool:
    if not evidence.transformer and evidence.blocks is None:
        return True
    if not preset.transformer and preset.source is not None:
        return True  # nothing is known about it
    try:
        numbers = preset.transformer or read_transformer_config(minis_dir() / preset.name)
    except EcadError:  # an ecad without its minis
        return False
    if evidence.blocks is not None:
        counts = get_family(preset.family).block_counts(numbers)
        if counts != dict(evidence.blocks):
            return False
    return all(
        _same(evidence.transformer[key], value)
        for key, value in numbers.items()
        if not key.startswith("_") and evidence.transformer.get(key) is not None
    )


def _same(one: object, other: object) -> bool:
    # Tuples come back from JSON as lists.
    return (list(one) if isinstance(one, tuple) else one) == (
        list(other) if isinstance(other, tuple) else other
    )


def _named(presets: Sequence[Preset], names: Sequence[object]) -> list[Preset]:
    """The presets that the most exact name names; none if no name is recognised."""
    for name in names:
        if not isinstance(name, str) or not name:
            continue
        text = _last_part(name)
        named = [preset for preset in presets if text in _names_of(preset)]
        # A repository that two presets share, one of which has a transformer of its own elsewhere.
        own = [
            preset for preset in named if text == _last_part(preset.transformer_source or preset.source or "")
        ]
        if named:
            return own or named
    return []


def _names_of(preset: Preset) -> set[str]:
    sources = (preset.source, preset.transformer_source)
    names = {_last_part(source) for source in sources if source}
    return names | {preset.name, *preset.aliases, preset.pipeline_class.lower()}


def _last_part(name: str) -> str:
    """The last part of a hub id: what is left of a local copy's path, too."""
    return name.strip("/").rsplit("/", 1)[-1].lower().replace("_", "-")
