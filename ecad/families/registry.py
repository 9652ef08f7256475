"""The families and presets that ecad knows, by name. A new family is a file in `models/`."""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import iter_modules

from ecad.errors import ModelError
from ecad.families import models
from ecad.families.family import Family, Preset

FAMILIES: dict[str, Family] = {}
PRESETS: dict[str, Preset] = {}


def register(family: Family | str | os.PathLike[str]) -> None:
    """Make a family known, with its presets; also one in a file (`ecad.families.spec_file`).

    ModelError if its name, or one of its classes or models, is taken.
    """
    if not isinstance(family, Family):
        from ecad.families.spec_file import load_family

        family = load_family(family)
    taken = [name for name in (family.name,) if name in FAMILIES]
    taken += [name for name in family.transformer_classes if name in known_transformers()]
    names = [name for preset in family.presets for name in (preset.name, *preset.aliases)]
    taken += [name for index, name in enumerate(names) if find_preset(name) or name in names[:index]]
    if taken:
        raise ModelError(f"cannot register the family {family.name!r}: {taken[0]!r} is known already")
    strangers = [preset.name for preset in family.presets if preset.family != family.name]
    if strangers:
        raise ModelError(
            f"cannot register the family {family.name!r}: its preset {strangers[0]!r} is of another family"
        )
    FAMILIES[family.name] = family
    PRESETS.update({preset.name: preset for preset in family.presets})


def use(family: Family) -> None:
    """The same, but for one that is known just so already."""
    if FAMILIES.get(family.name) != family:
        register(family)


def adopt(family: Family) -> None:
    """Make a family known in the place of those that have its name or its classes: as it is in another process."""
    for known in list(FAMILIES.values()):
        if known.name == family.name or set(known.transformer_classes) & set(family.transformer_classes):
            unregister(known.name)
    register(family)


def is_shipped(family: Family) -> bool:
    """Whether every ecad of this version knows it, just so."""
    return _SHIPPED.get(family.name) == family


def unregister(name: str) -> None:
    """Forget a family and its presets."""
    for preset in get_family(name).presets:
        del PRESETS[preset.name]
    del FAMILIES[name]


def get_family(name: str) -> Family:
    """The family of this name."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise ModelError(unknown_family(name)) from None


def unknown_family(name: str) -> str:
    """What is said of a family that nobody has registered."""
    return (
        f"unknown model family {shortened(name)}: ecad knows {', '.join(FAMILIES)}; one with a file of its own must be "
        "made known first, by --family FILE or ecad.families.register(FILE)"
    )


def shortened(value: str) -> str:
    """A text of a file as part of a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def known_transformers() -> list[str]:
    """The names of all transformer classes that ecad knows."""
    return sorted(name for family in FAMILIES.values() for name in family.transformer_classes)


def family_of_transformer(class_name: str) -> Family:
    """The family whose transformer class has this name (a class name, for example of a `config.json`)."""
    for family in FAMILIES.values():
        if class_name in family.transformer_classes:
            return family
    raise ModelError(f"ecad does not know the transformer class {class_name!r}, only {known_transformers()}")


def find_preset(name: str) -> Preset | None:
    """The preset of this name or alias."""
    if name in PRESETS:
        return PRESETS[name]
    return next((preset for preset in PRESETS.values() if name in preset.aliases), None)


def model_names() -> list[str]:
    """All names and aliases of presets."""
    return [*PRESETS, *(alias for preset in PRESETS.values() for alias in preset.aliases)]


for _module in iter_modules(models.__path__):
    for _value in vars(import_module(f"{models.__name__}.{_module.name}")).values():
        if isinstance(_value, Family):
            register(_value)

_SHIPPED = dict(FAMILIES)
