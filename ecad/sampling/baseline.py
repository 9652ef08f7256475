"""Any other text-to-image pipeline of diffusers as a row of a comparison: the question "why not a distilled model".

It runs through its own `__call__`, with its own defaults but for what the user gives, on the same prompts and seeds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from ecad.arrays import Images
from ecad.errors import ConfigError, ModelError
from ecad.families.registry import find_preset
from ecad.sampling.any_pipeline import PipelineCall, call_parameters, frames_argument
from ecad.sampling.base import Job
from ecad.sampling.baseline_loading import is_named, load_pipeline
from ecad.sampling.baseline_spec import BaselineSpec
from ecad.sampling.counting import counted_macs
from ecad.sampling.loading import without_progress_bars

# Prompts and sizes as they are asked for, as in the searched model's own rows; where a call takes these.
_AS_ASKED = {"use_resolution_binning": False, "clean_caption": False}


class Baseline:
    """A loaded pipeline of any class, ready to make images; `steps` is the number of its denoising steps.

    `recommended` are arguments of its call in place of its own defaults, where it takes them.
    """

    def __init__(
        self, spec: BaselineSpec, pipe: Any, recommended: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.spec = spec
        self.pipe = pipe
        self.macs: int | None = None  # of one image's denoising, counted in the first call
        parameters = call_parameters(pipe)
        wanted = {
            "num_inference_steps": spec.steps,
            "timesteps": None if spec.timesteps is None else list(spec.timesteps),
            "guidance_scale": spec.guidance_scale,
            "height": spec.height,
            "width": spec.width,
        }
        arguments = {
            name: value for name, value in {**_AS_ASKED, **recommended}.items() if name in parameters
        }
        if spec.timesteps is not None:
            arguments.pop("num_inference_steps", None)
        arguments |= {name: value for name, value in wanted.items() if value is not None}
        self._call = PipelineCall(f"baseline {spec.name!r}", pipe, {**arguments, **spec.call})
        parameter = parameters.get("num_inference_steps")
        default = recommended.get("num_inference_steps", None if parameter is None else parameter.default)
        steps = len(spec.timesteps) if spec.timesteps is not None else spec.steps or default
        if not isinstance(steps, int):
            raise ConfigError(
                f"baseline {spec.name!r} has no default number of steps: give {spec.location}:steps=N"
            )
        if spec.timesteps is not None:
            _check_timesteps(spec, pipe)
        self.steps = steps

    def sample(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3), one seed each, and the seconds without text encoding."""
        if self.macs is not None:
            return self._call(prompts, jobs)
        try:
            with counted_macs(self.pipe) as macs:
                images, seconds = self._call(prompts, jobs)
        except ModelError as error:
            if self.steps > 1 or getattr(self.pipe, "scheduler", None) is None:
                raise
            # PixArt's pipelines, for example, take the prediction of the image from what a single step gives.
            raise ModelError(
                f"{error} -- not every scheduler does for one step: scheduler=DDPMScheduler, LCMScheduler"
            ) from error
        if macs:
            self.macs = round(sum(macs) / len(jobs))
        return images, seconds


def load_baseline(spec: BaselineSpec, device: torch.device) -> Baseline:
    """Load a pipeline by `from_pretrained`, from a folder, a hub id or a model's name.

    A model that is named runs as `--model` would run it, but for what the user gives.
    """
    with without_progress_bars():
        pipe = load_pipeline(spec, device)
    preset = find_preset(spec.location) if is_named(spec) else None
    recommended: dict[str, Any] = {}
    if preset is not None:
        names = ("guidance_scale", "height", "width", "max_sequence_length")
        recommended = {name: getattr(preset, name) for name in names} | {"num_inference_steps": preset.steps}
        frames = frames_argument(pipe)
        if frames is not None and preset.num_frames > 1:
            recommended[frames] = preset.num_frames
    return Baseline(spec, pipe, recommended)


def _check_timesteps(spec: BaselineSpec, pipe: Any) -> None:
    """Not every scheduler takes timesteps that are given."""
    scheduler = getattr(pipe, "scheduler", None)
    if scheduler is not None and "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise ConfigError(
            f"baseline {spec.name!r}: a {type(scheduler).__name__} takes no timesteps of one's own: add "
            "scheduler=LCMScheduler, or EulerDiscreteScheduler, DPMSolverMultistepScheduler"
        )
