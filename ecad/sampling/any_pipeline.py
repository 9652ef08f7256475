"""Any text-to-image pipeline of diffusers through its own `__call__`: where no sampler fits, and for baselines."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ecad.arrays import Images
from ecad.errors import ConfigError, EcadError, ModelError, first_line
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.pipeline_sampler import generators_of

_NEEDED = ("prompt", "generator", "output_type")


class PipelineCall:
    """Calls a pipeline on prompts and seeds. `name` is what errors call it; `arguments` are passed as they are.

    `empty_texts` are arguments that get an empty text for each image: not every pipeline takes one text for all.
    """

    def __init__(
        self, name: str, pipe: Any, arguments: Mapping[str, Any], empty_texts: Sequence[str] = ()
    ) -> None:
        parameters = call_parameters(pipe)
        missing = [each for each in (*_NEEDED, *arguments, *empty_texts) if each not in parameters]
        if missing:
            raise ConfigError(
                f"{name} is a {type(pipe).__name__}, whose call takes no {missing[0]!r}: "
                "only text-to-image pipelines with that argument can be used"
            )
        self._name = name
        self._pipe = pipe
        self._arguments = dict(arguments)
        self._texts_per_image = tuple(empty_texts)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3), one seed each, and the seconds without text encoding."""
        with _timed_text(self._pipe) as text:
            start = time.perf_counter()
            try:
                floats = self._pipe(
                    prompt=list(prompts),
                    generator=generators_of(jobs),
                    output_type="np",
                    **self._arguments,
                    **dict.fromkeys(self._texts_per_image, [""] * len(prompts)),
                ).images
            except (EcadError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # whatever somebody else's pipeline does not like
                raise ModelError(
                    f"{self._name} ({type(self._pipe).__name__}) failed: {first_line(error)}"
                ) from error
            seconds = time.perf_counter() - start - sum(text)
        array = np.asarray(floats)
        if array.ndim != 4 or array.shape[0] != len(jobs) or array.shape[3] != 3:
            raise ModelError(
                f"{self._name} made an array of shape {array.shape} for {len(jobs)} prompts: "
                "expected (images, height, width, 3)"
            )
        images: Images = (np.nan_to_num(array).clip(0.0, 1.0) * 255).round().astype(np.uint8)
        return images, seconds


@dataclass(frozen=True)
class Prompts:
    """The conditioning of a pipeline that encodes its prompts itself, at every call."""

    texts: tuple[str, ...]


class AnyPipelineSampler:
    """A `Sampler` for every pipeline that ecad has no steps of its own for.

    Text is encoded at every call, so the text encoders stay in memory; their time does not count. Schedules share no
    steps.
    """

    def __init__(self, model: LoadedModel, settings: GenerationSettings) -> None:
        self.pipe = model.pipe
        self.settings = settings
        self._model = model
        parameters = call_parameters(model.pipe)
        wanted: dict[str, Any] = {
            "num_inference_steps": settings.steps,
            "height": settings.height,
            "width": settings.width,
        }
        optional: dict[str, Any] = {
            "max_sequence_length": settings.max_sequence_length,
            # Prompts and sizes as they are asked for, as in the samplers of our own.
            "use_resolution_binning": False,
            "clean_caption": False,
        }
        empty_texts: tuple[str, ...] = ()
        if model.family.guidance_setting == "guidance_scale":
            wanted["guidance_scale"] = settings.guidance_scale
        else:
            # An input of the model, where it has the embedding; the other one may be above 1 by default.
            if model.pipe.transformer.config.get("guidance_embeds") is not False:
                wanted["guidance_scale"] = settings.guidance_scale
            optional["true_cfg_scale"] = settings.true_cfg_scale
            if settings.true_cfg_scale > 1.0:
                wanted["true_cfg_scale"] = settings.true_cfg_scale
                empty_texts = ("negative_prompt",)
        arguments = {**wanted, **{name: optional[name] for name in optional if name in parameters}}
        self._call = PipelineCall(model.source.name, model.pipe, arguments, empty_texts)

    @property
    def has_guidance_rows(self) -> bool:
        return bool(getattr(self.settings, self._model.family.guidance_setting) > 1.0)

    def with_steps(self, steps: int, levels: tuple[int, ...] | None = None) -> AnyPipelineSampler:
        if levels is not None:
            # Its call makes the noise levels, by rules of its own.
            raise ModelError(
                f"a {type(self.pipe).__name__} cannot run at some of its noise levels: leave out the rows steps:I,J,..."
            )
        return AnyPipelineSampler(self._model, replace(self.settings, steps=steps))

    def encode(self, prompts: Sequence[str], batch_size: int) -> Prompts:
        return Prompts(tuple(prompts))

    def sample(self, conditioning: Prompts, jobs: Sequence[Job]) -> Images:
        return self.sample_timed(conditioning, jobs)[0]

    def sample_timed(self, conditioning: Prompts, jobs: Sequence[Job]) -> tuple[Images, float]:
        self._model.load_text_encoders()
        return self._call([conditioning.texts[job.prompt_index] for job in jobs], jobs)


def call_parameters(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's `__call__`, by name."""
    return inspect.signature(type(pipe).__call__).parameters


@contextmanager
def _timed_text(pipe: Any) -> Iterator[list[float]]:
    """Collects the seconds of the pipeline's text encoding, which no row's latency counts."""
    seconds: list[float] = []
    encode: Callable[..., Any] | None = getattr(pipe, "encode_prompt", None)
    if encode is None:
        yield seconds
        return
    original = encode

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = original(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        return result

    pipe.encode_prompt = timed  # on the object, where it hides the class's
    try:
        yield seconds
    finally:
        del pipe.encode_prompt
