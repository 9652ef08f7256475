"""What both functions do with their arguments: a model by name, path or as an object; paths as text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ecad.errors import ConfigError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Path: TypeAlias = str | os.PathLike[str]  # of a file or folder
Key = TypeVar("Key")

_OF_THE_PIPELINE = ("device", "dtype", "device_map", "embedding_cache")


def is_object(model: object) -> bool:
    """Whether this is a pipeline and no name of one."""
    return model is not None and not isinstance(model, (str, os.PathLike))


def plain(values: Mapping[Key, Any]) -> dict[Key, Any]:
    """Those that were given, paths as text as the settings have them."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in values.items()
        if value is not None
    }


@contextmanager
def model_settings(
    model: Path | DiffusionPipeline | None, settings: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The settings with those of the model; while inside, a pipeline object is known by its name.

    ConfigError if a setting is the pipeline's own.
    """
    if not is_object(model):
        yield plain({**settings, "model": model})
        return
    from ecad.sampling.handed_over import model_of

    theirs = [name for name in _OF_THE_PIPELINE if settings.get(name) is not None]
    if theirs:
        raise ConfigError(f"the pipeline is used where and as it is: leave out {', '.join(theirs)}")
    with model_of(model) as choice:
        own = {"model": choice.model, "device": choice.device, "dtype": choice.dtype}
        yield plain({**settings, **own})


def use_family(path: Path | None) -> None:
    """Make the family in this file known. ModelError if it cannot be read or its name or class is known otherwise."""
    if path is None:
        return
    from ecad.families import load_family
    from ecad.families.registry import use

    use(load_family(path))
