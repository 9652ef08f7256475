"""Any pipeline of diffusers from text to images or videos, through its own `__call__`.

For models that no other sampler fits, and for baselines.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ecad.arrays import Images
from ecad.errors import ConfigError, EcadError, ModelError, first_line
from ecad.families.workload import native_size
from ecad.sampling.base import Job
from ecad.sampling.class_labels import labels_of
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.noise_levels import kept_levels
from ecad.sampling.pipeline_sampler import generators_of

_PROMPT, _CLASSES = "prompt", "class_labels"  # what a call is told: a text, or a class (DiT)
_NEEDED = ("generator", "output_type")
_TEXT_ENCODING = ("encode_prompt", "_encode_prompt")
_FRAMES = ("num_frames", "video_length")  # how pipelines call the number of a video's frames


class PipelineCall:
    """Calls a pipeline on prompts and seeds. `name` is what errors call it; `arguments` are passed as they are.

    `empty_texts` are arguments that get an empty text for each image: not every pipeline takes one text for all.
    """

    def __init__(
        self, name: str, pipe: Any, arguments: Mapping[str, Any], empty_texts: Sequence[str] = ()
    ) -> None:
        parameters = call_parameters(pipe)
        self._subject = _CLASSES if _CLASSES in parameters and _PROMPT not in parameters else _PROMPT
        needed = (self._subject, *_NEEDED, *arguments, *empty_texts)
        missing = [each for each in needed if each not in parameters]
        if missing:
            raise ConfigError(
                f"{name} is a {type(pipe).__name__}, whose call takes no {missing[0]!r}: "
                "only pipelines from text to images or videos with that argument can be used"
            )
        self._name = name
        self._pipe = pipe
        self._arguments = dict(arguments)
        self._texts_per_image = tuple(empty_texts)

    def told(self, prompts: Sequence[str]) -> dict[str, Any]:
        """The argument that says what to draw. ConfigError for what is no class, where classes are asked for."""
        if self._subject == _CLASSES:
            return {_CLASSES: labels_of(self._name, self._pipe, prompts)}
        return {_PROMPT: list(prompts)}

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3), or videos (n, frames, height, width, 3), one seed each, and the seconds
        without text encoding."""
        with _timed_text(self._pipe) as text:
            start = time.perf_counter()
            try:
                output = self._pipe(
                    **self.told(prompts),
                    generator=generators_of(jobs),
                    output_type="np",
                    **self._arguments,
                    **dict.fromkeys(self._texts_per_image, [""] * len(prompts)),
                )
            except (EcadError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # whatever somebody else's pipeline does not like
                raise ModelError(
                    f"{self._name} ({type(self._pipe).__name__}) failed: {first_line(error)}"
                ) from error
            seconds = time.perf_counter() - start - sum(text)
        is_video = frames_argument(self._pipe) is not None
        array = np.asarray(output.frames if is_video else output.images)
        if array.ndim != 4 + is_video or array.shape[0] != len(jobs) or array.shape[-1] != 3:
            expected = "(videos, frames, height, width, 3)" if is_video else "(images, height, width, 3)"
            raise ModelError(
                f"{self._name} made an array of shape {array.shape} for {len(jobs)} prompts: expected {expected}"
            )
        asked = next((self._arguments[name] for name in _FRAMES if name in self._arguments), None)
        if is_video and asked not in (None, array.shape[1]):  # CogVideoX, of an even number of latent frames
            raise ModelError(
                f"{self._name} made {array.shape[1]} frames where {asked} were asked for: ask for another number of "
                "frames"
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
        }
        takes_size = "height" in parameters or "width" in parameters
        if takes_size:
            wanted |= {"height": settings.height, "width": settings.width}
        frames = frames_argument(model.pipe)
        if frames is not None and settings.num_frames > 1:
            wanted[frames] = settings.num_frames
        if settings.guidance_scale_2 is not None:
            wanted["guidance_scale_2"] = settings.guidance_scale_2
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
        if not takes_size:
            self._check_native_size()

    @property
    def has_guidance_rows(self) -> bool:
        family = self._model.family
        return family.has_guidance_rows(
            self.pipe.transformer.config, getattr(self.settings, family.guidance_setting)
        )

    def _check_native_size(self) -> None:
        """For a pipeline whose call takes no size (DiT)."""
        native = native_size(self._model.source)
        if (self.settings.height, self.settings.width) != (native, native):
            raise ConfigError(
                f"a {type(self.pipe).__name__} makes no other images than {native} x {native} pixels: "
                f"leave out height and width, which are {self.settings.height} and {self.settings.width}"
            )

    def with_steps(self, steps: int, levels: tuple[int, ...] | None = None) -> AnyPipelineSampler:
        return AnyPipelineSampler(self._model, replace(self.settings, steps=steps, levels=levels))

    def encode(self, prompts: Sequence[str], batch_size: int) -> Prompts:
        self._call.told(prompts)  # what is wrong is said before the first image
        return Prompts(tuple(prompts))

    def sample(self, conditioning: Prompts, jobs: Sequence[Job]) -> Images:
        return self.sample_timed(conditioning, jobs)[0]

    def sample_timed(self, conditioning: Prompts, jobs: Sequence[Job]) -> tuple[Images, float]:
        self._model.load_text_encoders()
        steps, levels = self.settings.steps, self.settings.levels
        # Its call makes the noise levels, by rules of its own.
        with nullcontext() if levels is None else kept_levels(self.pipe, steps, levels):
            return self._call([conditioning.texts[job.prompt_index] for job in jobs], jobs)


def call_parameters(pipe: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's `__call__`, by name."""
    return inspect.signature(type(pipe).__call__).parameters


def frames_argument(pipe: Any) -> str | None:
    """The argument of its call that says how many frames a video has; None for a pipeline that makes images."""
    return next((name for name in _FRAMES if name in call_parameters(pipe)), None)


def default_frames(pipe: Any) -> int:
    """How many frames a video pipeline makes where nobody says; 1 where its call does not say either."""
    name = frames_argument(pipe)
    default = None if name is None else call_parameters(pipe)[name].default
    return default if isinstance(default, int) else 1


@contextmanager
def _timed_text(pipe: Any) -> Iterator[list[float]]:
    """Collects the seconds of the pipeline's text encoding, which no row's latency counts.

    A pipeline that is made of others (a prior's and a decoder's) encodes in one of them.
    """
    seconds: list[float] = []
    depth = 0

    def timed(encode: Callable[..., Any]) -> Callable[..., Any]:
        def encoded(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            if depth:  # an encoder that calls another one: its time is in the outer one's
                return encode(*args, **kwargs)
            depth += 1
            start = time.perf_counter()
            try:
                result = encode(*args, **kwargs)
            finally:
                depth -= 1
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            return result

        return encoded

    with ExitStack() as stack:
        for each in (pipe, *_pipelines_inside(pipe)):
            for name in _TEXT_ENCODING:
                encode = getattr(each, name, None)
                if encode is None:
                    continue
                if name in vars(each):  # somebody else's
                    stack.callback(setattr, each, name, encode)
                else:
                    stack.callback(delattr, each, name)
                setattr(each, name, timed(encode))  # on the object, where it hides the class's
        yield seconds


def _pipelines_inside(pipe: Any) -> list[Any]:
    from diffusers import DiffusionPipeline

    return [part for part in getattr(pipe, "__dict__", {}).values() if isinstance(part, DiffusionPipeline)]
