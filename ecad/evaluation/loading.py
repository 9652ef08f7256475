"""Loading a model: the same `from_pretrained` for a bundled mini, a local folder and a hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ecad.errors import ConfigError, ModelError
from ecad.evaluation.cost import native_size
from ecad.models import ModelSource, ModelSpec, find_model
from ecad.models.spec import family_of_transformer, get_family

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class GenerationSettings:
    """How images are made: steps, guidance scale, size in pixels, text tokens that prompts are padded to."""

    steps: int
    guidance_scale: float
    height: int
    width: int
    max_sequence_length: int


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, with what ecad knows about it."""

    source: ModelSource
    spec: ModelSpec
    pipe: Any
    device: torch.device


def settings_for(source: ModelSource, overrides: Any) -> GenerationSettings:
    """The preset's settings (for other models diffusers' defaults at the native size), with those that
    `overrides` has as attributes and that are not None in their place."""
    if source.preset is not None:
        preset = source.preset
        base = GenerationSettings(
            preset.steps, preset.guidance_scale, preset.height, preset.width, preset.max_sequence_length
        )
    else:
        size = native_size(source)
        base = GenerationSettings(20, 4.5, size, size, 120)
    names = [field.name for field in fields(GenerationSettings)]
    given = {name: getattr(overrides, name, None) for name in names}
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; "auto" takes a GPU if there is one."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but torch sees no CUDA GPU on this machine")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """A torch dtype by name; "auto" is float32 on a CPU, which has no fast half precision, else float16."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in _DTYPES:
        raise ConfigError(f"unknown dtype {name!r}: use auto or one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def load_model(model: str | ModelSource, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load a pipeline by preset name, local folder or hub id, ready to sample, without progress bars."""
    source = find_model(model) if isinstance(model, str) else model
    torch_device = choose_device(device)
    if dtype == "auto" and source.preset is not None and torch_device.type != "cpu":
        dtype = source.preset.dtype
    with _without_progress_bars():
        pipe = _load_pipeline(source, choose_dtype(dtype, torch_device))
    transformer = getattr(pipe, "transformer", None)
    if transformer is None:
        raise ModelError(f"{source.name!r} is a {type(pipe).__name__}, which has no diffusion transformer")
    spec = family_of_transformer(type(transformer).__name__)
    if source.transformer_config is None:
        source = replace(source, spec=spec, transformer_config=dict(transformer.config))
    pipe.set_progress_bar_config(disable=True)
    return LoadedModel(source, spec, pipe.to(torch_device), torch_device)


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """The libraries' own bars would tear up the display of a search."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = [diffusers_logging, transformers_logging]
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


def _load_pipeline(source: ModelSource, dtype: torch.dtype) -> Any:
    import diffusers

    # diffusers 0.42 renamed the argument; the old name still works but warns.
    release = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
    dtype_argument = {"dtype" if release >= (0, 42) else "torch_dtype": dtype}
    arguments: dict[str, Any] = dict(dtype_argument)
    class_name = source.preset.pipeline_class if source.preset else "DiffusionPipeline"
    try:
        if source.preset is not None and source.preset.transformer_source is not None:
            transformer_class = getattr(diffusers, get_family(source.preset.family).transformer_class)
            arguments["transformer"] = transformer_class.from_pretrained(
                source.preset.transformer_source, subfolder="transformer", **dtype_argument
            )
        return getattr(diffusers, class_name).from_pretrained(source.location, **arguments)
    except Exception as error:
        # Whatever is missing, damaged or out of reach: three libraries report it in a dozen classes.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if source.is_local:
            remedy = "the folder is incomplete or damaged; save it again with pipe.save_pretrained(folder)"
        else:
            remedy = (
                f"download it where there is a network (hf download {source.location}) or give --model "
                "the path of a local pipeline folder"
            )
        raise ModelError(
            f"cannot load {source.name!r} from {source.location}: {reason} -- {remedy}"
        ) from error
