"""From the name a user types (`--model NAME`) to a model: a preset, a bundled mini, a local folder or a hub id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecad.errors import ModelError
from ecad.families.family import Family, Preset
from ecad.families.pipeline_config import read_model_index, read_transformer_config
from ecad.families.recognition import Evidence, nearest_preset, shared_numbers
from ecad.families.registry import (
    PRESETS,
    family_of_transformer,
    find_preset,
    get_family,
    known_transformers,
    model_names,
)
from ecad.resources import minis_dir

BUNDLED: tuple[str, ...] = tuple(name for name, preset in PRESETS.items() if preset.source is None)

# What files of older versions of diffusers call two classes, which it tells apart as here.
_FORMER_CLASS = "Transformer2DModel"
_CLASS_BY_NORM = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}

# How the names of pipelines begin that were handed over as objects; see `handed_over`.
OBJECT = "object:"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are and what is known about it before anything heavy is loaded.

    `name` identifies the model in schedules and run folders. `location` is a local folder or a hub id.
    `family` and `transformer_config` are None for a hub id that is not a preset: they are known after loading.
    `template` is the preset whose recommendations hold: its own, or for a folder that of the same pipeline class whose
    transformer is most alike (FLUX with a guidance embedding: dev, without: schnell); None for a family without any.
    `pipe` is the pipeline itself, if it was handed over as an object: then there are no files.
    """

    name: str
    location: str
    is_local: bool
    preset: Preset | None
    family: Family | None
    transformer_config: Mapping[str, Any] | None
    template: Preset | None = None
    pipe: Any = field(default=None, compare=False, repr=False)

    @property
    def is_template_architecture(self) -> bool:
        """Whether the transformer is the template's in every number, so that its image size is right too."""
        if self.template is None or self.transformer_config is None:
            return False
        return shared_numbers(self.template, self.transformer_config) == len(self.template.transformer)

    def architecture(self) -> tuple[Family, Mapping[str, Any]]:
        """Family and transformer config; ModelError where they are not known yet."""
        if self.family is None or self.transformer_config is None:
            raise ModelError(
                f"the architecture of {self.name!r} is not known before it is loaded: use a local folder"
            )
        return self.family, self.transformer_config

    def block_counts(self) -> dict[str, int]:
        """Number of blocks of each list; ModelError where the architecture is not known yet."""
        family, config = self.architecture()
        return family.block_counts(config)


def list_models() -> list[Preset]:
    """All presets, the bundled minis first."""
    return sorted(PRESETS.values(), key=lambda preset: preset.source is not None)


def find_model(name: str) -> ModelSource:
    """Resolve what the user typed. Reads at most a small `config.json`, never weights."""
    preset = find_preset(name)
    if preset is not None:
        return _from_preset(preset)
    if name.startswith(OBJECT):
        return _from_object(name)
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
    close = difflib.get_close_matches(name, model_names(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known names: {', '.join(PRESETS)}"
    raise ModelError(f"unknown model {name!r}: not a preset, a local folder or a hub id 'owner/name'; {hint}")


_handed_over: dict[str, ModelSource] = {}


@contextmanager
def handed_over(name: str, source: ModelSource) -> Iterator[None]:
    """While inside, `find_model` knows a pipeline object by this name, which begins with `OBJECT`."""
    _handed_over[name] = source
    try:
        yield
    finally:
        del _handed_over[name]


def _from_object(name: str) -> ModelSource:
    if name not in _handed_over:
        raise ModelError(
            f"{name} is a pipeline that was handed over in Python: go on there, with the same one "
            "(ecad.search(pipe, resume=...))"
        )
    return _handed_over[name]


def _from_preset(preset: Preset) -> ModelSource:
    family = get_family(preset.family)
    if preset.source is not None:
        return ModelSource(preset.name, preset.source, False, preset, family, preset.transformer, preset)
    folder = minis_dir() / preset.name
    config = read_transformer_config(folder)
    return ModelSource(preset.name, str(folder), True, preset, family, config, preset)


def _from_folder(folder: Path) -> ModelSource:
    """A local diffusers pipeline; its family is recognised from the transformer's class."""
    config = read_transformer_config(folder)
    class_name = str(config.get("_class_name"))
    if class_name == _FORMER_CLASS:
        class_name = _CLASS_BY_NORM.get(str(config.get("norm_type")), class_name)
    try:
        family = family_of_transformer(class_name)
    except ModelError:
        raise ModelError(
            f"{folder}: its transformer is a {class_name!r}, ecad knows only {known_transformers()}; describe it by "
            f"ecad models --inspect {folder}, and give the file as --family FILE"
        ) from None
    pipeline_class = str(read_model_index(folder).get("_class_name"))
    evidence = Evidence(family.name, pipeline_class=pipeline_class, transformer=config)
    template = nearest_preset(evidence)
    return ModelSource(folder.resolve().name, str(folder), True, None, family, config, template)
