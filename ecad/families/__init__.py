"""What ecad knows about models, as plain data: families, presets and the bundled minis. No torch here."""

from ecad.families.catalog import BUNDLED, ModelSource, find_model, list_models
from ecad.families.family import BlockList, Component, Family, Preset
from ecad.families.inspected import describe
from ecad.families.registry import (
    FAMILIES,
    PRESETS,
    family_of_transformer,
    get_family,
    register,
    unregister,
)
from ecad.families.spec_file import dump_family, load_family

__all__ = [
    "BUNDLED",
    "FAMILIES",
    "PRESETS",
    "BlockList",
    "Component",
    "Family",
    "ModelSource",
    "Preset",
    "describe",
    "dump_family",
    "family_of_transformer",
    "find_model",
    "get_family",
    "list_models",
    "load_family",
    "register",
    "unregister",
]
