"""Prompts are encoded once: kept in memory, and on disk under a hash of everything that decides their values.

With a complete cache the text encoders, often the second largest part of a model, are not even loaded. The cache is
the folder `embeddings` in $ECAD_CACHE, or else in $XDG_CACHE_HOME/ecad or ~/.cache/ecad: one safetensors file per
list of prompts, of about prompts x tokens x channels x bytes (100 prompts of FLUX: 100 x 512 x 4096 x 2 = 420 MB).
Any file in it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ecad.atomic import replacing
from ecad.errors import first_line

Tensors = dict[str, torch.Tensor]

_log = logging.getLogger(__name__)

# Files up to this size are hashed whole; of larger ones (weights) as many evenly spaced blocks as add up to it.
_WHOLE_BYTES = 16 * 2**20
_BLOCK_BYTES = 2**16


def cache_folder() -> Path:
    """Where embeddings are kept: below $ECAD_CACHE, $XDG_CACHE_HOME/ecad or ~/.cache/ecad."""
    chosen = os.environ.get("ECAD_CACHE")
    if chosen:
        return Path(chosen).expanduser() / "embeddings"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "ecad" / "embeddings"


def fingerprint(folder: Path, parts: Iterable[str]) -> str:
    """A hash of the files in these sub-folders: of names, sizes and content, not of times or of where they lie.

    Of a file of weights the header (in safetensors: names, shapes and dtypes of all tensors) and 256 blocks of 64 KiB
    are read, so that the fingerprint of a 10 GB text encoder takes milliseconds; fine-tuning changes them all.
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        for path in sorted(item for item in (folder / part).rglob("*") if item.is_file()):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
            with path.open("rb") as file:
                if size <= _WHOLE_BYTES:
                    digest.update(file.read())
                    continue
                blocks = _WHOLE_BYTES // _BLOCK_BYTES
                for block in range(blocks):
                    file.seek(block * (size - _BLOCK_BYTES) // (blocks - 1))
                    digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


class EmbeddingCache:
    """Tensors on disk, by key. Nothing in it is trusted: what cannot be read whole counts as absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def load(self, key: str) -> Tensors | None:
        """The tensors stored under `key`, on the CPU, or None."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                info = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError, ValueError) as error:
            reason = first_line(error)
        else:
            if info.get("key") == key and info.get("sha256") == _content_hash(tensors):
                return tensors
            reason = "its content is not what was written"
        _log.warning(
            "the cached prompt embeddings %s are damaged (%s): encoding the prompts again", path, reason
        )
        return None

    def store(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write them, whole or not at all. A cache that cannot be written costs time, not the run."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # What a crash of the machine leaves half is found by its hash.
            with replacing(self.path(key), durable=False) as temporary:
                save_file(plain, temporary, metadata={"key": key, "sha256": _content_hash(plain)})
        except (OSError, SafetensorError) as error:
            _log.warning("prompt embeddings could not be cached in %s: %s", self.folder, error)


class PromptEncoder:
    """Encodes prompts for one pipeline: from memory, else from the cache, else with its text encoders.

    `load` returns the text encoders by component name; they are put on the pipeline at the first prompts that are
    not known yet and stay until `free`. Without `load` the pipeline's own text encoders are used and stay.
    `identity` is the fingerprint of what encodes, dtype and device included; without it nothing goes to disk.
    """

    def __init__(
        self,
        pipe: Any,
        load: Callable[[], Mapping[str, Any]] | None = None,
        identity: str | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._pipe = pipe
        self._load = load
        self._identity = identity
        self._cache = cache
        self._memory: dict[str, Tensors] = {}  # key -> tensors on the CPU
        self._loaded: tuple[str, ...] = ()

    def encode(
        self, request: Mapping[str, Any], compute: Callable[[], Tensors], device: torch.device
    ) -> Tensors:
        """The tensors that `compute` returns, on `device`; `request` says everything that `compute` depends on
        besides the model: prompts, their number per batch, tokens, ..."""
        key = self._key(request)
        tensors = self._memory.get(key)
        if tensors is None and self._cache is not None and self._identity is not None:
            tensors = self._cache.load(key)
        if tensors is None:
            self.load()
            tensors = {name: tensor.cpu() for name, tensor in compute().items()}
            if self._cache is not None and self._identity is not None:
                self._cache.store(key, tensors)
        self._memory[key] = tensors
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    def load(self) -> None:
        """Put the text encoders on the pipeline, if they are not there."""
        if self._load is not None and not self._loaded:
            encoders = self._load()
            for name, module in encoders.items():
                setattr(self._pipe, name, module)
            self._loaded = tuple(encoders)

    def free(self) -> None:
        """Drop the text encoders that were loaded here; new prompts load them again."""
        for name in self._loaded:
            setattr(self._pipe, name, None)
        self._loaded = ()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _key(self, request: Mapping[str, Any]) -> str:
        content = {"encoder": self._identity, **request}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def encoder_identity(
    folder: Path, parts: Iterable[str], pipeline_class: str, dtype: str, device: torch.device
) -> str:
    """What decides the embeddings of given prompts, to the last bit: files, code versions, dtype and hardware."""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    content = {
        "files": fingerprint(folder, parts),
        "pipeline": pipeline_class,
        "dtype": dtype,
        "hardware": hardware,
        "versions": {name: metadata.version(name) for name in ("torch", "diffusers", "transformers")},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
