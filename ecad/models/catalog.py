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
    """

    name: str
    location: str
    is_local: bool
    preset: Preset | None
    spec: ModelSpec | None
    transformer_config: Mapping[str, Any] | None


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
        return ModelSource(preset.name, preset.source, False, preset, spec, preset.transformer)
    folder = minis_dir() / preset.name
    return ModelSource(preset.name, str(folder), True, preset, spec, read_transformer_config(folder))


def _from_folder(folder: Path) -> ModelSource:
    """A local diffusers pipeline; its family is recognised from the transformer's class."""
    config = read_transformer_config(folder)
    class_name = str(config.get("_class_name"))
    try:
        spec = family_of_transformer(class_name)
    except ModelError:
        known = sorted(family.transformer_class for family in FAMILIES.values())
        raise ModelError(f"{folder}: its transformer is a {class_name!r}, ecad knows only {known}") from None
    return ModelSource(folder.resolve().name, str(folder), True, None, spec, config)


def read_transformer_config(folder: Path) -> dict[str, Any]:
    """`transformer/config.json` of a local diffusers pipeline."""
    path = folder / "transformer" / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a diffusers pipeline folder: {path.relative_to(folder)} is missing "
            "(make one with pipe.save_pretrained(folder))"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold a JSON object, not a {type(config).__name__}")
    return config
