"""One uncached pass that records how much every output changes from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from ecad.arrays import FloatArray
from ecad.caching.modules import Key, component_modules
from ecad.caching.targets import find_transformers
from ecad.errors import ModelError
from ecad.families import Family
from ecad.sampling.base import batches_of, jobs_for
from ecad.sampling.subject import Subject
from ecad.schedule.calibration import Calibration
from ecad.schedule.shape import ScheduleShape

SKETCH_SIZE = 1021
CALIBRATION_PROMPTS = 8  # where nobody says how many
_MOST = 1000.0  # of a relative distance: an output that is zero at one step must not count for more than all others


def calibrate(subject: Subject, prompts: Sequence[str], batch_size: int) -> Calibration:
    """Uncached passes over these prompts, one image each with the seeds 0, 1, ..., as the mean over the images.

    Its numbers are as a file would hold them. ModelError for outputs that are not finite.
    """
    sampler, shape, model = subject.sampler, subject.shape, subject.model
    conditioning = sampler.encode(prompts, batch_size)
    parts: list[tuple[int, Calibration]] = []
    for batch in batches_of(jobs_for(len(prompts), 1, 0), batch_size):
        part = record(
            find_transformers(model.pipe)[1],
            model.family,
            shape,
            partial(sampler.sample, conditioning, batch),
        )
        parts.append((len(batch), part))

    def mean(tables: Sequence[FloatArray]) -> FloatArray:
        return np.average(tables, axis=0, weights=[images for images, _ in parts])

    settings = subject.settings
    output = mean([part.output for _, part in parts])
    components = {name: mean([part.components[name] for _, part in parts]) for name in shape.array_shapes()}
    if not all(np.isfinite(values).all() for values in (output, *components.values())):
        raise ModelError(
            f"cannot calibrate {subject.source.name}: some outputs are not finite in {settings.steps} steps with "
            f"{model.pipe.transformer.dtype}: try another --dtype"
        )
    return Calibration(
        shape,
        components,
        output,
        {
            "model": subject.source.name,
            "images": len(prompts),
            "height": settings.height,
            "width": settings.width,
            **({} if settings.num_frames == 1 else {"num_frames": settings.num_frames}),
            "guidance_scale": settings.guidance_scale,
            "true_cfg_scale": settings.true_cfg_scale,
            **({} if settings.guidance_scale_2 is None else {"guidance_scale_2": settings.guidance_scale_2}),
            "scheduler": type(model.pipe.scheduler).__name__,
        },
    ).rounded()


class Sketch:
    """A fixed random projection (a count sketch) of each row of an output to `SKETCH_SIZE` numbers.

    Every entry gets a random sign and is added to the place that its number has modulo the size, a prime, so that no
    channel stays in one place. It is linear, and keeps squared lengths on average, with a relative standard deviation
    of about sqrt(2 / SKETCH_SIZE) = 4.4 % for a row whose energy is not in a few entries: 2.2 % of a distance, and less
    of a mean over rows. What is kept depends on the number of outputs and not on their sizes.
    """

    def __init__(self) -> None:
        self._signs: dict[tuple[int, torch.device], torch.Tensor] = {}

    def __call__(self, output: Any) -> torch.Tensor:
        """Shape (rows, SKETCH_SIZE), float32, on the CPU."""
        flat = torch.cat([tensor.flatten(1) for tensor in _tensors_of(output)], dim=1).float()
        signed = flat * self._signs_for(flat.shape[1], flat.device)
        padding = -signed.shape[1] % SKETCH_SIZE
        padded = torch.nn.functional.pad(signed, (0, padding))
        return padded.unflatten(1, (-1, SKETCH_SIZE)).sum(dim=1).cpu()

    def _signs_for(self, length: int, device: torch.device) -> torch.Tensor:
        if (length, device) not in self._signs:
            generator = torch.Generator().manual_seed(length)
            bits = torch.randint(0, 2, (length,), generator=generator, dtype=torch.int8)
            self._signs[length, device] = (2 * bits - 1).to(device)
        return self._signs[length, device]


def record(
    transformers: torch.nn.Module | Sequence[torch.nn.Module],
    family: Family,
    shape: ScheduleShape,
    run: Callable[[], object],
) -> Calibration:
    """The calibration of what `run` makes: one call of the pipeline, uncached, with the shape's number of steps.

    Several transformers take turns (Wan 2.2): a step's outputs are those of whichever runs. What a component returns in
    several calls of one run (`Component.calls`) counts as one output. ModelError if the transformer does not run
    equally often in every step, or a component not in every run.
    """
    sketch = Sketch()
    whole: list[torch.Tensor] = []
    parts: dict[Key, dict[int, list[torch.Tensor]]] = {}  # by the number of the transformer's run
    with ExitStack() as stack, torch.no_grad():

        def watch(module: torch.nn.Module, note: Callable[[torch.Tensor], None]) -> None:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                note(sketch(output))

            stack.callback(module.register_forward_hook(hook).remove)

        def note_part(key: Key, sketched: torch.Tensor) -> None:
            parts[key].setdefault(len(whole), []).append(sketched)

        all_of_them = [transformers] if isinstance(transformers, torch.nn.Module) else transformers
        for transformer in all_of_them:
            for key, module in component_modules(transformer, family).items():
                parts[key] = {}
                watch(module, partial(note_part, key))
            watch(transformer, whole.append)
        run()
    if not whole or len(whole) % shape.steps:
        raise ModelError(
            f"cannot calibrate: the transformer ran {len(whole)} times in {shape.steps} steps, not equally often in "
            "each"
        )
    components = {name: np.zeros((shape.steps, *size)) for name, size in shape.array_shapes().items()}
    for (block_list, block, component), runs in parts.items():
        calls = family.block_list(block_list).components[component].calls
        found = sum(map(len, runs.values()))
        per_run = found // len(whole)
        if not 1 <= per_run <= calls or any(len(runs.get(run, ())) != per_run for run in range(len(whole))):
            raise ModelError(
                f"cannot calibrate: component {component} of {block_list}[{block}] ran {found} times in "
                f"{len(whole)} runs of the transformer: another tool calls it, or calls past it"
            )
        sketches = [torch.cat(runs[run], dim=1) for run in range(len(whole))]
        components[block_list][:, :, block, component] = _distances(sketches, shape.steps)
    return Calibration(shape, components, _distances(whole, shape.steps))


def _distances(sketches: list[torch.Tensor], steps: int) -> FloatArray:
    """[s, t]: the relative distance of the outputs of steps s and t, mean over rows; several passes are more rows."""
    passes = len(sketches) // steps
    by_step = torch.stack(
        [torch.cat(sketches[step * passes : (step + 1) * passes]) for step in range(steps)]
    ).double()
    lengths = by_step.norm(dim=2)  # (steps, rows)
    result = torch.zeros(steps, steps, dtype=torch.float64)
    for used in range(steps):
        gaps = (by_step - by_step[used]).norm(dim=2)
        result[:, used] = (gaps / lengths[used].clamp_min(1e-30)).clamp_max(_MOST).mean(dim=1)
    distances: FloatArray = result.numpy()
    return distances


def _tensors_of(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors_of(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors_of(value)
