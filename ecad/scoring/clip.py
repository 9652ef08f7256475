"""The `clip` scorer: 100 x the cosine between image and prompt, by any model that open_clip knows.

This is CLIPScore without its weight and without cutting negative values off (Hessel et al. 2021, arXiv 2104.08718;
most papers report 100 x the cosine). Prompts are truncated to the model's context (77 tokens for most).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ecad.arrays import Images, Scores
from ecad.devices import choose_device
from ecad.errors import ConfigError, describe
from ecad.hub import hub_or_cache
from ecad.scoring.base import check_arguments
from ecad.scoring.needs import cached_hub_file, need_package

DEFAULT_MODEL = "ViT-B-32/openai"

# open_clip reads these model names from a hub repository or a folder, weights included.
_WHOLE = ("hf-hub:", "local-dir:")
# The names of its weights in a hub repository; either will do.
_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class ClipScorer:
    """`model` is MODEL/PRETRAINED as in open_clip.list_pretrained(), for example ViT-B-32/openai; PRETRAINED may be
    a local checkpoint file instead. hf-hub:OWNER/NAME and local-dir:FOLDER name a whole model."""

    higher_is_better = True
    needs_reference = False

    def __init__(self, device: str = "auto", model: str = DEFAULT_MODEL, batch_size: int = 32) -> None:
        need_package("open_clip", "clip")
        self.name = "clip" if model == DEFAULT_MODEL else f"clip:{model}"
        self._architecture, self._pretrained = split_model(model)
        self._device_name = device
        self._batch_size = batch_size
        self._loaded: tuple[Any, Any, Any] | None = None

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        import torch
        from PIL import Image

        check_arguments(self, prompts, images, references)
        model, preprocess, tokenizer = self._load()
        device = next(model.parameters()).device
        parts = [np.zeros(0, np.float64)]
        for start in range(0, len(images), self._batch_size):
            batch = slice(start, start + self._batch_size)
            pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images[batch]])
            with torch.inference_mode():
                image_features = model.encode_image(pixels.to(device), normalize=True)
                text_features = model.encode_text(tokenizer(list(prompts[batch])).to(device), normalize=True)
                cosines = (image_features.double() * text_features.double()).sum(dim=1)
            parts.append(100.0 * cosines.cpu().numpy())
        return np.concatenate(parts)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Any prompt and size will do; loads the weights, so that missing ones are found before a search."""
        self._load()

    def _load(self) -> tuple[Any, Any, Any]:
        if self._loaded is None:
            import open_clip

            repository = _repository(self._architecture, self._pretrained)
            why: str | None = None
            try:
                with _silent_log(), hub_or_cache() if repository else nullcontext() as why:
                    model, preprocess = open_clip.create_model_from_pretrained(
                        self._architecture, self._pretrained, device=choose_device(self._device_name)
                    )
                    tokenizer = open_clip.get_tokenizer(self._architecture)
            except Exception as error:  # a missing tag, no connection, a damaged file: no common base
                reason = describe(error) if why is None else f"{why}, and it is not in the hub's cache"
                raise ConfigError(
                    f"cannot load {self.name} ({reason}): {_remedy(self._architecture, self._pretrained)}"
                ) from None
            self._loaded = model.eval().requires_grad_(False), preprocess, tokenizer
        return self._loaded


def look() -> str:
    """What `ecad doctor` says of its weights."""
    found = cached_checkpoint()
    return (
        f"weights {found}"
        if found
        else f"the weights of {DEFAULT_MODEL} will be downloaded at first use (0.6 GB)"
    )


def split_model(model: str) -> tuple[str, str | None]:
    """MODEL/PRETRAINED -> both, for open_clip; ConfigError if open_clip has no such model, tag or file."""
    import open_clip

    if model.startswith(_WHOLE):
        return model, None
    architecture, _, pretrained = model.partition("/")
    if architecture not in open_clip.list_models():
        raise ConfigError(
            f"open_clip has no model {architecture!r}: name it as clip:MODEL/PRETRAINED, for example "
            f"clip:{DEFAULT_MODEL} (open_clip.list_pretrained() lists them)"
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in tags and not Path(pretrained).expanduser().is_file():
        raise ConfigError(
            f"clip:{model}: {pretrained!r} is neither a checkpoint file nor one of the weights of {architecture} "
            f"({', '.join(tags) or 'none are published'})"
        )
    return architecture, pretrained if pretrained in tags else str(Path(pretrained).expanduser())


def _repository(architecture: str, pretrained: str | None) -> str:
    """The hub's repository that the weights are loaded from; "" for those that lie elsewhere."""
    import open_clip

    if pretrained is None:
        return architecture.removeprefix(_WHOLE[0]) if architecture.startswith(_WHOLE[0]) else ""
    return str(open_clip.get_pretrained_cfg(architecture, pretrained).get("hf_hub", "")).strip("/")


def _remedy(architecture: str, pretrained: str | None) -> str:
    """What to download, and how to give it."""
    import open_clip

    if pretrained is None:
        return "download it on a machine with a connection and give the folder, as clip:local-dir:FOLDER"
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    repository = _repository(architecture, pretrained)
    source = (
        f"{_HUB_FILES[0]} of the hub's {repository}" if repository else config.get("url") or "its checkpoint"
    )
    return f"download {source} on a machine with a connection and give the file, as clip:{architecture}/PATH"


@contextmanager
def _silent_log() -> Iterator[None]:
    """Nothing of what open_clip says on the root logger: that comes as an exception too."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def cached_checkpoint(model: str = DEFAULT_MODEL) -> Path | None:
    """The checkpoint of a published model if it is in a cache of this machine; nothing is downloaded."""
    import open_clip

    architecture, pretrained = split_model(model)
    config = open_clip.get_pretrained_cfg(architecture, pretrained or "")
    repository = _repository(architecture, pretrained or "")
    for name in _HUB_FILES:
        found = cached_hub_file(repository, name) if repository else None
        if found is not None:
            return found
    # Weights with an address of their own are kept here (open_clip.download_pretrained_from_url).
    url = str(config.get("url", ""))
    plain = Path.home() / ".cache" / "clip" / url.rpartition("/")[2]
    return plain if url and plain.is_file() else None
