"""Loading a model: the same `from_pretrained` for a bundled mini, a local folder and a hub id.

What FLUX.1-dev needs on a GPU, in bfloat16 (2 bytes a parameter; GB = 10^9 bytes):

| part | parameters | memory | when |
|---|---|---|---|
| transformer | 11.9 B | 23.8 GB | always |
| T5-XXL encoder | 4.76 B | 9.5 GB | while prompts are encoded |
| CLIP text encoder | 0.12 B | 0.25 GB | while prompts are encoded |
| VAE | 0.084 B | 0.17 GB | always |
| embeddings of 100 prompts x 512 tokens x 4096 channels | | 0.42 GB | always |

That is 34 GB at its peak while prompts are encoded, and 24.4 GB plus activations and stored outputs in the search:
one 48 GB GPU is enough, with about 23 GB for the images of a batch. `prepare` in `ecad.searching.setup` therefore
encodes all prompts first and then frees the text encoders.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ecad.caching.modules import check_family, config_of
from ecad.devices import choose_device, choose_dtype
from ecad.errors import ConfigError, ModelError
from ecad.families import Family, ModelSource, family_of_transformer, find_model
from ecad.sampling.embeddings import EmbeddingCache, PromptEncoder, cache_folder, encoder_identity
from ecad.sampling.pipeline_files import PipelineFiles, find_files


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on its device, with what ecad knows about it.

    With a `prompt_encoder` the pipeline's text encoders are None except while new prompts are encoded.
    """

    source: ModelSource
    family: Family
    pipe: Any
    device: torch.device
    prompt_encoder: PromptEncoder | None = None

    def free_text_encoders(self) -> None:
        """Give their memory back once all prompts are encoded; prompts that come later load them again."""
        if self.prompt_encoder is not None:
            self.prompt_encoder.free()

    def load_text_encoders(self) -> None:
        """Have them on the pipeline, for what runs its own `__call__`."""
        if self.prompt_encoder is not None:
            self.prompt_encoder.load()


def dtype_of(source: ModelSource, name: str, device: torch.device) -> torch.dtype:
    """As `choose_dtype`, but "auto" on a GPU is what the model's authors recommend (for FLUX bfloat16)."""
    if name == "auto" and source.template is not None and device.type != "cpu":
        name = source.template.dtype
    return choose_dtype(name, device)


def load_model(
    model: str | ModelSource,
    device: str = "auto",
    dtype: str = "auto",
    *,
    device_map: str | None = None,
    embedding_cache: bool = True,
) -> LoadedModel:
    """Load a pipeline by preset name, local folder or hub id, ready to sample, without progress bars.

    Except for the bundled minis the text encoders are not loaded here but by `LoadedModel.prompt_encoder`, for prompts
    that are neither in memory nor (with `embedding_cache`) on disk. `device_map="balanced"` spreads the components
    over all GPUs. A pipeline that was handed over is as it is. ModelError says what could not be loaded and what to do.
    """
    source = find_model(model) if isinstance(model, str) else model
    if source.pipe is not None:
        family, _ = source.architecture()
        return LoadedModel(
            source, family, source.pipe, source.pipe.transformer.device, PromptEncoder(source.pipe)
        )
    torch_device = choose_device(device)
    _check_device_map(device_map, device)
    choose_dtype(dtype, torch_device)
    is_bundled = source.preset is not None and source.preset.source is None
    with without_progress_bars():
        files = find_files(source)
        if source.family is None:  # a hub id that is no preset: only now do its files say what it is
            found = find_model(str(files.folder))
            source = replace(found, name=source.name, location=source.location, is_local=False)
        torch_dtype = dtype_of(source, dtype, torch_device)
        without = () if is_bundled else files.text_encoders
        pipe = files.load(torch_dtype, without=without, device_map=device_map)
    transformer = getattr(pipe, "transformer", None)
    if transformer is None:
        raise ModelError(f"{source.name!r} is a {type(pipe).__name__}, which has no diffusion transformer")
    family = family_of_transformer(type(transformer).__name__)
    check_family(transformer, family)
    if not all(each.count_key for each in family.block_lists):
        source = replace(source, transformer_config=config_of(transformer, family))
    pipe.set_progress_bar_config(disable=True)
    if device_map is None:
        pipe.to(torch_device)
    elif transformer.device.type == "cpu":  # from a repository of its own, which the map does not cover
        transformer.to(torch_device)
    torch_device = transformer.device
    encoder = PromptEncoder(pipe)
    if not is_bundled:
        encoder = _encoder(files, pipe, torch_dtype, torch_device, embedding_cache)
    return LoadedModel(source, family, pipe, torch_device, encoder)


def _encoder(
    files: PipelineFiles, pipe: Any, dtype: torch.dtype, device: torch.device, embedding_cache: bool
) -> PromptEncoder:
    def load() -> Any:
        with without_progress_bars():
            return files.load_text_encoders(dtype, device)

    identity = cache = None
    if embedding_cache:
        cache = EmbeddingCache(cache_folder())
        parts = (*files.text_encoders, *files.tokenizers)
        identity = encoder_identity(files.folder, parts, type(pipe).__name__, str(dtype), device)
    return PromptEncoder(pipe, load, identity, cache)


def _check_device_map(device_map: str | None, device: str) -> None:
    if device_map is None:
        return
    if device_map != "balanced":
        raise ConfigError(
            f"unknown device map {device_map!r}: use 'balanced', or leave it out for one device"
        )
    if not torch.cuda.is_available():
        raise ConfigError("device map 'balanced' spreads a model over CUDA GPUs, but torch sees none here")
    if device not in ("auto", "cuda"):
        raise ConfigError(f"device map 'balanced' uses all GPUs: leave out --device {device}")


@contextmanager
def without_progress_bars() -> Iterator[None]:
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
