"""What ecad knows about models, as plain data: families, presets and the bundled minis. No torch here."""

from ecad.models.catalog import BUNDLED, ModelSource, find_model, list_models
from ecad.models.presets import PRESETS, Preset
from ecad.models.spec import (
    FAMILIES,
    BlockList,
    Component,
    ModelSpec,
    family_of_transformer,
    get_family,
)

__all__ = [
    "BUNDLED",
    "FAMILIES",
    "PRESETS",
    "BlockList",
    "Component",
    "ModelSource",
    "ModelSpec",
    "Preset",
    "family_of_transformer",
    "find_model",
    "get_family",
    "list_models",
]
