"""Multiply-accumulates (MACs) of a schedule, from the architecture alone: no weights, no torch.

Two conventions. "true" counts every matrix product and convolution that really runs, the attention products
included; one step of it equals half of what torch's FlopCounterMode reports. Outputs that nothing reads are not
computed (see `ecad.schedule.effective`), so they do not count. "paper" is the ECAD paper's (arXiv 2506.15682):
linear layers and convolutions only, what nothing reads included; always two rows (the guidance pair of one image
for PixArt, two images for FLUX); always 120 text tokens for PixArt (also its numbers for PixArt-Sigma, whose
pipeline pads to 300) and 512 for FLUX. So "paper" depends on the architecture and the resolution only and compares
with published numbers; "true" is the work. Norms, activations, softmax, rotary embeddings and other elementwise
work count in neither. Step 0 counts every component, as it always recomputes.

`stored_bytes` is what a schedule costs in memory, from the architecture alone as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ecad.errors import ConfigError, ModelError, ScheduleError
from ecad.evaluation.cost.flux import flux_macs, flux_output_values
from ecad.evaluation.cost.layers import ComponentMacs
from ecad.evaluation.cost.pixart import pixart_macs, pixart_output_values
from ecad.evaluation.cost.workload import Workload, native_size, workload_for
from ecad.models import get_family
from ecad.schedule.liveness import effective, stored_after_step
from ecad.schedule.schedule import Schedule

__all__ = [
    "CONVENTIONS",
    "ComponentMacs",
    "Workload",
    "component_macs",
    "component_output_values",
    "constant_macs",
    "dead_macs",
    "native_size",
    "schedule_macs",
    "speedup_macs",
    "stored_bytes",
    "uncached_macs",
    "workload_for",
]

CONVENTIONS = ("true", "paper")

_COUNTERS: dict[str, Callable[[Workload, bool], tuple[ComponentMacs, int]]] = {
    "pixart": pixart_macs,
    "flux": flux_macs,
}

_OUTPUTS: dict[str, Callable[[Workload], dict[tuple[str, str], int]]] = {
    "pixart": pixart_output_values,
    "flux": flux_output_values,
}


def component_macs(workload: Workload, convention: str = "true") -> ComponentMacs:
    """MACs of one execution of each component, for all rows."""
    return _count(workload, convention)[0]


def constant_macs(workload: Workload, convention: str = "true") -> int:
    """MACs of one step that no schedule saves: embedders, modulation, output projection; for all rows."""
    return _count(workload, convention)[1]


def schedule_macs(schedule: Schedule, workload: Workload, convention: str = "true") -> int:
    """MACs of one image's denoising (of the paper's two rows in its convention) with this schedule, all steps."""
    _check_fit(schedule, workload)
    components, constant = _count(workload, convention)
    counted = effective(schedule) if convention == "true" else schedule
    counts = counted.recompute_counts()
    return schedule.steps * constant + sum(count * components[part] for part, count in counts.items())


def dead_macs(schedule: Schedule, workload: Workload) -> int:
    """True MACs of the outputs that the schedule recomputes and nothing reads; `schedule_macs` leaves them out."""
    _check_fit(schedule, workload)
    components = component_macs(workload)
    live = effective(schedule).recompute_counts()
    counts = schedule.recompute_counts()
    return sum((count - live[part]) * components[part] for part, count in counts.items())


def uncached_macs(steps: int, workload: Workload, convention: str = "true") -> int:
    """MACs of one image's denoising with everything recomputed in every step."""
    components, constant = _count(workload, convention)
    blocks = _block_counts(workload)
    return steps * (constant + sum(blocks[block_list] * macs for (block_list, _), macs in components.items()))


def speedup_macs(schedule: Schedule, workload: Workload, convention: str = "true") -> float:
    """How many times fewer MACs than recomputing everything."""
    return uncached_macs(schedule.steps, workload, convention) / schedule_macs(schedule, workload, convention)


def component_output_values(workload: Workload) -> dict[tuple[str, str], int]:
    """(block list, component) -> numbers in the output of one execution, for all rows of one image."""
    _check_family(workload)
    return _OUTPUTS[workload.family](workload)


def stored_bytes(
    schedule: Schedule, workload: Workload, bytes_per_value: int, first_step: int = 0
) -> npt.NDArray[np.int64]:
    """Bytes of stored outputs that are held after each step, of one image: shape (steps,), the last one 0.

    `bytes_per_value` is 2 for float16 and bfloat16, 4 for float32. The most of a call is their maximum; a call that
    enters the schedule late (image-to-image) starts at `first_step`. A batch holds this once for every image.
    """
    _check_fit(schedule, workload)
    values = component_output_values(workload)
    held = stored_after_step(schedule, first_step)
    total = sum((blocks * values[part] for part, blocks in held.items()), np.zeros(schedule.steps, np.int64))
    return total * bytes_per_value


def _count(workload: Workload, convention: str) -> tuple[ComponentMacs, int]:
    if convention not in CONVENTIONS:
        raise ConfigError(f"unknown MACs convention {convention!r}: use one of {', '.join(CONVENTIONS)}")
    _check_family(workload)
    return _COUNTERS[workload.family](workload, convention == "paper")


def _check_family(workload: Workload) -> None:
    if workload.family not in _COUNTERS:
        raise ModelError(f"cannot count the MACs of family {workload.family!r}, only of {sorted(_COUNTERS)}")


def _check_fit(schedule: Schedule, workload: Workload) -> None:
    if schedule.family != workload.family:
        raise ScheduleError(
            f"a schedule for family {schedule.family!r} has no cost on family {workload.family!r}"
        )
    blocks = _block_counts(workload)
    if dict(schedule.shape.blocks) != blocks:
        raise ScheduleError(
            f"the schedule is for {dict(schedule.shape.blocks)} blocks, the model has {blocks}"
        )


def _block_counts(workload: Workload) -> dict[str, int]:
    return get_family(workload.family).block_counts(workload.transformer)
