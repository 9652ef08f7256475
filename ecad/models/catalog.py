"""From the name a user types (`--model NAME`) to a model: a preset, a bundled mini, a local folder or a hub id."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecad.errors import ModelError
from ecad.models.presets import ALIASES, PRESETS, Preset
from ecad.models.spec import FAMILIES, ModelSpec, family_of_transformer, get_family
from ecad.resources import minis_dir

BUNDLED: tuple[str, ...] = tuple(name for name, preset in PRESETS.items() if preset.source is None)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are and what is known about it before anything heavy is loaded.

    `name` identifies the model in schedules and run folders. `location` is a local folder or a hub id.
    `spec` and `transformer_config` are None for a hub id that is not a preset: they are known after loading.
    `template` is the preset whose recommendations hold: its own, or for a folder that of the same pipeline class whose
    transformer is most alike (FLUX with a guidance embedding: dev, without: schnell).
    """

    name: str
    location: str
    is_local: bool
    preset: Preset | None
    spec: ModelSpec | None
    transformer_config: Mapping[str, Any] | None
    template: Preset | None = None

    @property
    def is_template_architecture(self) -> bool:
        """Whether the transformer is the template's in every number, so that its image size is right too."""
        if self.template is None or self.transformer_config is None:
            return False
        return _likeness(self.template, self.transformer_config) == len(self.template.transformer)


def list_models() -> list[Preset]:
    """All presets, the bundled minis first."""
    return sorted(PRESETS.values(), key=lambda preset: preset.source is not None)


def find_model(name: str) -> ModelSource:
    """Resolve what the user typed. Reads at most a small `config.json`, never weights."""
    name = ALIASES.get(name, name)
    if name in PRESETS:
        return _from_preset(PRESETS[name])
    try:
        path = Path(name).expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:  # name too long; no such user (~name)
        raise ModelError(f"cannot read the model {name[:100]!r}: {error}") from None
    if is_folder:
        return _from_folder(path)
    if _HUB_ID.fullmatch(name):
        for preset in PRESETS.values():
            if name in (preset.source, preset.transformer_source):
                return _from_preset(preset)
        return ModelSource(name, name, False, None, None, None)
    close = difflib.get_close_matches(name, [*PRESETS, *ALIASES], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known names: {', '.join(PRESETS)}"
    raise ModelError(f"unknown model {name!r}: not a preset, a local folder or a hub id 'owner/name'; {hint}")


def _from_preset(preset: Preset) -> ModelSource:
    spec = get_family(preset.family)
    if preset.source is not None:
        return ModelSource(preset.name, preset.source, False, preset, spec, preset.transformer, preset)
    folder = minis_dir() / preset.name
    return ModelSource(preset.name, str(folder), True, preset, spec, read_transformer_config(folder), preset)


def _from_folder(folder: Path) -> ModelSource:
    """A local diffusers pipeline; its family is recognised from the transformer's class."""
    config = read_transformer_config(folder)
    class_name = str(config.get("_class_name"))
    try:
        spec = family_of_transformer(class_name)
    except ModelError:
        known = sorted(family.transformer_class for family in FAMILIES.values())
        raise ModelError(f"{folder}: its transformer is a {class_name!r}, ecad knows only {known}") from None
    template = _template(spec, str(read_model_index(folder).get("_class_name")), config)
    return ModelSource(folder.resolve().name, str(folder), True, None, spec, config, template)


def _template(spec: ModelSpec, pipeline_class: str, config: Mapping[str, Any]) -> Preset:
    """The downloadable preset of this family that is most like the model; of equals the first."""
    family = [item for item in PRESETS.values() if item.family == spec.family and item.source is not None]
    same_class = [preset for preset in family if preset.pipeline_class == pipeline_class]
    return max(same_class or family, key=lambda preset: _likeness(preset, config))


def _likeness(preset: Preset, config: Mapping[str, Any]) -> int:
    """How many numbers of the preset's architecture a transformer's config shares."""
    return sum(config.get(key) == value for key, value in preset.transformer.items())


def read_model_index(folder: Path) -> dict[str, Any]:
    """`model_index.json` of a local diffusers pipeline: its class, and (library, class) of each component."""
    return _read_json(folder, "model_index.json")


def read_transformer_config(folder: Path) -> dict[str, Any]:
    """`transformer/config.json` of a local diffusers pipeline."""
    return _read_json(folder, "transformer/config.json")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object that every diffusers pipeline folder has."""
    path = folder / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a diffusers pipeline folder: {name} is missing "
            "(make one with pipe.save_pretrained(folder))"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config
