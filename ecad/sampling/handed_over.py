"""A pipeline object of the caller's in the place of a model's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import torch
from torch import nn

from ecad.caching.applied import applied_to
from ecad.caching.modules import check_family, config_of
from ecad.devices import DTYPES
from ecad.errors import ConfigError, ModelError
from ecad.families import ModelSource, family_of_transformer
from ecad.families.catalog import OBJECT, handed_over
from ecad.families.recognition import Evidence, nearest_preset
from ecad.sampling.generation import ModelChoice

_SAMPLES = 64  # numbers of each tensor that its fingerprint looks at


@contextmanager
def model_of(pipe: Any) -> Iterator[ModelChoice]:
    """While inside, the pipeline is known by a model's name, and makes images where it is and as it is.

    The name has a fingerprint of the pipeline, by which a later start sees whether it is the same. ModelError or
    ConfigError says why a pipeline cannot be used.
    """
    source = _source_of(pipe)
    transformer = pipe.transformer
    name = f"{OBJECT}{source.name}:{_fingerprint(pipe)}"
    dtype = next((name for name, dtype in DTYPES.items() if dtype == transformer.dtype), None)
    if dtype is None:
        raise ConfigError(
            f"the pipeline computes in {transformer.dtype}: move it to one of {', '.join(DTYPES)}"
        )
    bars = getattr(pipe, "_progress_bar_config", None)
    pipe.set_progress_bar_config(disable=True)
    try:
        with handed_over(name, source):
            yield ModelChoice(name, str(transformer.device), dtype)
    finally:
        if bars is None:
            del pipe._progress_bar_config
        else:
            pipe._progress_bar_config = bars


def _source_of(pipe: Any) -> ModelSource:
    transformer = getattr(pipe, "transformer", None)
    if not isinstance(transformer, nn.Module):
        raise ModelError(
            f"{type(pipe).__name__} has no diffusion transformer: give a model's name, or a pipeline of diffusers that "
            "has one"
        )
    if applied_to(transformer) is not None:
        raise ModelError("a schedule is applied to this pipeline: call ecad.remove(pipe) first")
    modules = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    if any(hasattr(module, "_hf_hook") for module in modules):
        raise ModelError(
            "this pipeline moves its parts between devices (offloading, a device map): give one that lies on one "
            "device, or a model's name with device_map='balanced'"
        )
    family = family_of_transformer(type(transformer).__name__)
    check_family(transformer, family)
    config = config_of(transformer, family)
    location = str(getattr(pipe, "name_or_path", None) or "")
    evidence = Evidence(family.name, pipeline_class=type(pipe).__name__, transformer=config)
    return ModelSource(
        name=PurePath(location).name or type(pipe).__name__,
        location=location or f"a {type(pipe).__name__}",
        is_local=False,
        preset=None,
        family=family,
        transformer_config=config,
        template=nearest_preset(evidence),
        pipe=pipe,
    )


def _fingerprint(pipe: Any) -> str:
    """Of its class, its scheduler's settings, and of some numbers of each of its weights."""
    digest = hashlib.sha256(type(pipe).__name__.encode())
    for name, part in sorted(pipe.components.items()):
        settings = getattr(part, "config", None) if name == "scheduler" else None
        said = {key: value for key, value in dict(settings or {}).items() if not key.startswith("_")}
        text = json.dumps([name, type(part).__name__, said], sort_keys=True, default=str)
        digest.update(text.encode())
        if isinstance(part, nn.Module):
            for key, tensor in part.state_dict().items():
                digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(_some_numbers(tensor))
    return digest.hexdigest()[:16]


def _some_numbers(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    some = flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES]
    return some.cpu().to(torch.float64).numpy().tobytes()
