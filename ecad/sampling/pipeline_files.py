"""The files of a pipeline on this machine, and loading it from them with or without its text encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ecad.devices import dtype_argument
from ecad.errors import EcadError, ModelError, first_line
from ecad.families import ModelSource, get_family
from ecad.families.pipeline_config import read_model_index
from ecad.hub import hub_or_cache

# A tokenizer has one of these; without any, transformers makes an empty tokenizer and says nothing.
_VOCABULARIES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class PipelineFiles:
    """A pipeline folder as `save_pretrained` writes it: a user's own, or the downloaded copy of a hub repository."""

    source: ModelSource
    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """Component name -> (library, class), without those that the pipeline has not."""
        entries = read_model_index(self.folder).items()
        return {name: entry for name, entry in entries if isinstance(entry, list) and entry[0] is not None}

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(name for name in self.index if name.startswith("text_encoder"))

    @property
    def tokenizers(self) -> tuple[str, ...]:
        return tuple(name for name in self.index if name.startswith("tokenizer"))

    @property
    def pipeline_class(self) -> str:
        """A preset says its class; anything else is what its index says."""
        preset = self.source.preset
        return preset.pipeline_class if preset is not None else "DiffusionPipeline"

    def load(self, dtype: torch.dtype, *, without: Iterable[str] = (), device_map: str | None = None) -> Any:
        """The pipeline, with None for the components in `without`; on the CPU unless there is a device map."""
        import diffusers

        arguments: dict[str, Any] = dict.fromkeys(without)
        if device_map is not None:
            arguments["device_map"] = device_map
        preset = self.source.preset
        with one_line_errors(self.source):
            for tokenizer in self.tokenizers:
                if not any((self.folder / tokenizer / name).is_file() for name in _VOCABULARIES):
                    raise FileNotFoundError(f"{tokenizer} has no vocabulary ({', '.join(_VOCABULARIES)})")
            if (
                preset is not None
                and preset.transformer_source is not None
                and "transformer" not in arguments
            ):
                transformer_class = getattr(diffusers, get_family(preset.family).transformer_classes[0])
                with from_hub() as passed:
                    arguments["transformer"] = transformer_class.from_pretrained(
                        preset.transformer_source, subfolder="transformer", **passed, **dtype_argument(dtype)
                    )
            pipeline_class = getattr(diffusers, self.pipeline_class)
            return pipeline_class.from_pretrained(self.folder, **arguments, **dtype_argument(dtype))

    def load_text_encoders(self, dtype: torch.dtype, device: torch.device) -> Mapping[str, Any]:
        """Component name -> text encoder, as the whole pipeline would load them."""
        kept = (*self.text_encoders, *self.tokenizers, "scheduler")
        pipe = self.load(dtype, without=[name for name in self.index if name not in kept])
        return {name: getattr(pipe, name).to(device) for name in self.text_encoders}


def find_files(source: ModelSource) -> PipelineFiles:
    """The pipeline's folder; a hub repository is downloaded if it is not on this machine yet."""
    if source.is_local:
        return PipelineFiles(source, Path(source.location))
    from diffusers import DiffusionPipeline

    # A transformer with a repository of its own is not looked for in the pipeline's.
    has_own_transformer = source.preset is None or source.preset.transformer_source is None
    passed: dict[str, Any] = {} if has_own_transformer else {"transformer": None}
    with one_line_errors(source), from_hub() as local:
        return PipelineFiles(source, Path(DiffusionPipeline.download(source.location, **passed, **local)))


@contextmanager
def from_hub() -> Iterator[dict[str, bool]]:
    """Yields arguments for what is loaded from the hub: where that is away, from its cache alone. FileNotFoundError, in
    one line, if it is not there."""
    with hub_or_cache() as why:
        try:
            yield {} if why is None else {"local_files_only": True}
        except Exception as error:
            if why is None or isinstance(error, EcadError):
                raise
            raise FileNotFoundError(f"{why}, and not all of its files are in the hub's cache") from error


@contextmanager
def one_line_errors(source: ModelSource) -> Iterator[None]:
    """Whatever is missing, damaged or out of reach: three libraries report it in a dozen classes."""
    try:
        yield
    except EcadError:
        raise
    except Exception as error:
        if source.is_local:
            remedy = "the folder is incomplete or damaged; save it again with pipe.save_pretrained(folder)"
        else:
            remedy = (
                f"download it where there is a network (hf download {source.location}) or give --model "
                "the path of a local pipeline folder"
            )
        raise ModelError(
            f"cannot load {source.name!r} from {source.location}: {first_line(error)} -- {remedy}"
        ) from error
