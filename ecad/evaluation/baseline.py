"""Any other text-to-image pipeline of diffusers as a row of a comparison: the question "why not a distilled model".

It runs through its own `__call__`, with its own defaults but for what the user gives, on the same prompts and seeds.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecad.errors import ConfigError, EcadError, ModelError
from ecad.evaluation.baseline_spec import BaselineSpec
from ecad.evaluation.loading import choose_dtype
from ecad.evaluation.samplers.base import Images, Job

_DENOISERS = ("transformer", "unet", "prior", "decoder")


class Baseline:
    """A loaded pipeline of any class, ready to make images; `steps` is the number of its denoising steps."""

    def __init__(self, spec: BaselineSpec, pipe: Any) -> None:
        self.spec = spec
        self.pipe = pipe
        self.macs: int | None = None  # of one image's denoising, counted in the first call
        parameters = inspect.signature(type(pipe).__call__).parameters
        wanted = {
            "num_inference_steps": spec.steps,
            "timesteps": None if spec.timesteps is None else list(spec.timesteps),
            "guidance_scale": spec.guidance_scale,
            "height": spec.height,
            "width": spec.width,
        }
        self._arguments = {name: value for name, value in wanted.items() if value is not None}
        missing = [
            name
            for name in ("prompt", "generator", "output_type", *self._arguments)
            if name not in parameters
        ]
        if missing:
            raise ConfigError(
                f"baseline {spec.name!r} is a {type(pipe).__name__}, whose call takes no {missing[0]!r}: "
                "only text-to-image pipelines with that argument can be compared"
            )
        default = parameters["num_inference_steps"].default if "num_inference_steps" in parameters else None
        steps = len(spec.timesteps) if spec.timesteps is not None else spec.steps or default
        if not isinstance(steps, int):
            raise ConfigError(
                f"baseline {spec.name!r} has no default number of steps: give {spec.location}:steps=N"
            )
        self.steps = steps

    @torch.no_grad()
    def sample(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[Images, float]:
        """Images uint8 (n, height, width, 3), one seed each, and the seconds without text encoding."""
        generators = [torch.Generator("cpu").manual_seed(job.seed) for job in jobs]
        with (
            _counted_macs(self.pipe) if self.macs is None else _nothing() as macs,
            _timed_text(self.pipe) as text,
        ):
            start = time.perf_counter()
            try:
                floats = self.pipe(
                    prompt=list(prompts), generator=generators, output_type="np", **self._arguments
                ).images
            except (EcadError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # whatever somebody else's pipeline does not like
                raise ModelError(
                    f"baseline {self.spec.name!r} ({type(self.pipe).__name__}) failed: {_first_line(error)}"
                ) from error
            seconds = time.perf_counter() - start - sum(text)
        if macs:
            self.macs = round(sum(macs) / len(jobs))
        array = np.asarray(floats)
        if array.ndim != 4 or array.shape[0] != len(jobs) or array.shape[3] != 3:
            raise ModelError(
                f"baseline {self.spec.name!r} made an array of shape {array.shape} for {len(jobs)} prompts: "
                "expected (images, height, width, 3)"
            )
        images: Images = (np.nan_to_num(array).clip(0.0, 1.0) * 255).round().astype(np.uint8)
        return images, seconds


def load_baseline(spec: BaselineSpec, device: torch.device) -> Baseline:
    """Load a pipeline by `from_pretrained`, from a folder or a hub id."""
    import diffusers

    dtype = choose_dtype(spec.dtype, device)
    # diffusers 0.42 renamed the argument; the old name still works but warns.
    release = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
    arguments: dict[str, Any] = {"dtype" if release >= (0, 42) else "torch_dtype": dtype}
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(spec.location, **arguments)
    except Exception as error:
        # Whatever is missing, damaged or out of reach: three libraries report it in a dozen classes.
        if Path(spec.location).is_dir():
            remedy = "the folder is no complete diffusers pipeline; save it again with pipe.save_pretrained(folder)"
        else:
            remedy = f"download it where there is a network (hf download {spec.location}) and give its folder"
        raise ModelError(
            f"cannot load the baseline {spec.location}: {_first_line(error)} -- {remedy}"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return Baseline(spec, pipe.to(device))


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


@contextmanager
def _counted_macs(pipe: Any) -> Iterator[list[float]]:
    """Collects the MACs of every forward of the denoising network (half of what torch counts as FLOPs)."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    # Of all kernels of attention only that of CPUs is unknown to the counter.
    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}

    macs: list[float] = []
    modules = [
        module for name in _DENOISERS if isinstance(module := getattr(pipe, name, None), torch.nn.Module)
    ]
    hidden = [module.__dict__.get("forward") for module in modules]  # offloading tools put their own there

    def counting(forward: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
                result = forward(*args, **kwargs)
            macs.append(counter.get_total_flops() / 2)
            return result

        return counted

    for module in modules:
        module.forward = counting(module.forward)
    try:
        yield macs
    finally:
        for module, own in zip(modules, hidden, strict=True):
            if own is None:
                del module.forward
            else:
                module.forward = own


@contextmanager
def _nothing() -> Iterator[list[float]]:
    yield []


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
