"""Any other text-to-image pipeline of diffusers as a row of a comparison: the question "why not a distilled model".

It runs through its own `__call__`, with its own defaults but for what the user gives, on the same prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ecad.arrays import Images
from ecad.devices import choose_dtype, dtype_argument
from ecad.errors import ConfigError, ModelError, first_line
from ecad.sampling.any_pipeline import PipelineCall, call_parameters
from ecad.sampling.base import Job
from ecad.sampling.baseline_spec import BaselineSpec
from ecad.sampling.counting import counted_macs
from ecad.sampling.pipeline_files import from_hub


class Baseline:
    """A loaded pipeline of any class, ready to make images; `steps` is the number of its denoising steps."""

    def __init__(self, spec: BaselineSpec, pipe: Any) -> None:
        self.spec = spec
        self.pipe = pipe
        self.macs: int | None = None  # of one image's denoising, counted in the first call
        wanted = {
            "num_inference_steps": spec.steps,
            "timesteps": None if spec.timesteps is None else list(spec.timesteps),
            "guidance_scale": spec.guidance_scale,
            "height": spec.height,
            "width": spec.width,
        }
        arguments = {name: value for name, value in wanted.items() if value is not None}
        self._call = PipelineCall(f"baseline {spec.name!r}", pipe, arguments)
        parameter = call_parameters(pipe).get("num_inference_steps")
        default = None if parameter is None else parameter.default
        steps = len(spec.timesteps) if spec.timesteps is not None else spec.steps or default
        if not isinstance(steps, int):
            raise ConfigError(
                f"baseline {spec.name!r} has no default number of steps: give {spec.location}:steps=N"
            )
        self.steps = steps

    def sample(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3), one seed each, and the seconds without text encoding."""
        if self.macs is not None:
            return self._call(prompts, jobs)
        with counted_macs(self.pipe) as macs:
            images, seconds = self._call(prompts, jobs)
        if macs:
            self.macs = round(sum(macs) / len(jobs))
        return images, seconds


def load_baseline(spec: BaselineSpec, device: torch.device) -> Baseline:
    """Load a pipeline by `from_pretrained`, from a folder or a hub id."""
    import diffusers

    dtype = choose_dtype(spec.dtype, device)
    try:
        folder = spec.location
        if not Path(folder).is_dir():
            with from_hub() as passed:
                folder = diffusers.DiffusionPipeline.download(folder, **passed)
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **dtype_argument(dtype))
    except Exception as error:
        # Whatever is missing, damaged or out of reach: three libraries report it in a dozen classes.
        if Path(spec.location).is_dir():
            remedy = "the folder is no complete diffusers pipeline; save it again with pipe.save_pretrained(folder)"
        else:
            remedy = f"download it where there is a network (hf download {spec.location}) and give its folder"
        raise ModelError(
            f"cannot load the baseline {spec.location}: {first_line(error)} -- {remedy}"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return Baseline(spec, pipe.to(device))
