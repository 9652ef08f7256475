"""Multiply-accumulates (MACs) of a schedule, from the architecture alone: no weights, no torch.

Two conventions. "true" counts every matrix product and convolution that really runs, the attention products
included; one step of it equals half of what torch's FlopCounterMode reports. Outputs that nothing reads are not
computed (see `ecad.schedule.effective`), so they do not count. "paper" is the ECAD paper's (arXiv 2506.15682):
linear layers and convolutions only, what nothing reads included; always two rows (the guidance pair of one image
for PixArt, two images for FLUX); always 120 text tokens for PixArt (also its numbers for PixArt-Sigma, whose
pipeline pads to 300) and 512 for FLUX; of other families, which it knows not, with the rows and text tokens of the
workload. So "paper" depends on the architecture and the resolution only and compares
with published numbers; "true" is the work. Norms, activations, softmax, rotary embeddings and other elementwise
work count in neither. Step 0 counts every component, as it always recomputes. A family without formulas has "true"
MACs only, as torch counted them in one step (`CountedWorkload`). Where another transformer of the pipeline takes over
(Wan 2.2), everything is recomputed, whatever the schedule says of that step (`executed`).

`stored_bytes` is what a schedule costs in memory, from the architecture alone as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ecad.errors import ConfigError, ModelError, ScheduleError
from ecad.families import get_family
from ecad.families.family import ComponentNumbers, CountedWorkload, Formulas, StepMacs, Workload
from ecad.schedule import Schedule, effective
from ecad.schedule.liveness import plan_execution, stretches_after_step

Work = Workload | CountedWorkload

CONVENTIONS = ("true", "paper")


def component_macs(workload: Work, convention: str = "true") -> ComponentNumbers:
    """MACs of one execution of each component (all its calls in a forward), for all rows."""
    return _count(workload, convention)[0]


def constant_macs(workload: Work, convention: str = "true") -> int:
    """MACs of one step outside of components (embedders, modulation, output projection), for all rows: saved only with
    the whole output."""
    return _count(workload, convention)[1]


def executed(schedule: Schedule, workload: Work) -> Schedule:
    """What of the schedule really runs on this model: without dead compute, all of a step in which another transformer
    takes over."""
    return effective(schedule, _take_over_step(workload, schedule.steps))


def schedule_macs(schedule: Schedule, workload: Work, convention: str = "true") -> int:
    """MACs of one image's denoising (of the paper's two rows in its convention) with this schedule, all steps."""
    _check_fit(schedule, workload)
    components, constant = _count(workload, convention)
    counted = executed(schedule, workload) if convention == "true" or workload.take_over else schedule
    return counted.transformer_runs * constant + _of_executions(counted, components)


def dead_macs(schedule: Schedule, workload: Work) -> int:
    """True MACs of the outputs that the schedule recomputes and nothing reads; `schedule_macs` leaves them out."""
    _check_fit(schedule, workload)
    components = component_macs(workload)
    return _of_executions(schedule, components) - _of_executions(effective(schedule), components)


def uncached_macs(steps: int, workload: Work, convention: str = "true") -> int:
    """MACs of one image's denoising with everything recomputed in every step."""
    components, constant = _count(workload, convention)
    family, blocks = get_family(workload.family), _block_counts(workload)
    per_step = constant
    for (block_list, component), macs in components.items():
        per_step += sum(family.block_list(block_list).by_block(component, macs, blocks[block_list]))
    return steps * per_step


def speedup_macs(schedule: Schedule, workload: Work, convention: str = "true") -> float:
    """How many times fewer MACs than recomputing everything."""
    return uncached_macs(schedule.steps, workload, convention) / schedule_macs(schedule, workload, convention)


def component_output_values(workload: Work) -> ComponentNumbers:
    """(block list, component) -> numbers in the output of one execution, for all rows of one image."""
    if isinstance(workload, CountedWorkload):
        return workload.output_values
    return _formulas(workload).output_values(workload)


def whole_output_values(workload: Work) -> int:
    """Numbers in the transformer's own output, for all rows of one image."""
    if isinstance(workload, CountedWorkload):
        return workload.whole_output_values
    return _formulas(workload).whole_output_values(workload)


def stored_bytes(
    schedule: Schedule,
    workload: Work,
    bytes_per_value: int,
    first_step: int = 0,
    summed_runs: bool = False,
    everywhere: bool = False,
) -> npt.NDArray[np.int64]:
    """Bytes of stored outputs that are held after each step, of one image: shape (steps,), the last one 0.

    `bytes_per_value` is 2 for float16 and bfloat16, 4 for float32. The most of a call is their maximum; a call that
    enters the schedule late (image-to-image) starts at `first_step`. A batch holds this once for every image. With
    `summed_runs` stretches of reused blocks are held as three sums in float32 each, where that pays
    in time, or with `everywhere` in memory (`ecad.apply(..., summed_runs=True)`).
    """
    _check_fit(schedule, workload)
    take_over = _take_over_step(workload, schedule.steps)
    held = _stored_bytes(schedule, workload, bytes_per_value, first_step, summed_runs, everywhere)
    if take_over is None or take_over <= first_step:
        return held
    # The second transformer stores what it reads itself, and what the first one has stored is dropped.
    later = _stored_bytes(schedule, workload, bytes_per_value, take_over, summed_runs, everywhere)
    return np.concatenate([held[:take_over], later[take_over:]])


def _stored_bytes(
    schedule: Schedule,
    workload: Work,
    bytes_per_value: int,
    first_step: int,
    summed_runs: bool,
    everywhere: bool,
) -> npt.NDArray[np.int64]:
    values = component_output_values(workload)
    plan = plan_execution(schedule, first_step, summed_runs, everywhere)
    total = plan.keeps_output.astype(np.int64) * whole_output_values(workload)
    largest = 0
    for block_list, index, numbers in _by_block(schedule, values):
        total += plan.keeps[block_list][:, :, index] @ np.array(numbers, dtype=np.int64)
        largest = max([largest, *numbers])  # no numbers: an optional list
    if not summed_runs:
        return total * bytes_per_value
    # Only families of one block list sum up, whose outputs are all of one size.
    return total * bytes_per_value + stretches_after_step(schedule, first_step, everywhere) * 3 * 4 * largest


def _of_executions(schedule: Schedule, numbers: ComponentNumbers) -> int:
    """The sum over everything that the schedule recomputes."""
    return sum(
        int(count) * number
        for block_list, index, by_block in _by_block(schedule, numbers)
        for count, number in zip(
            schedule.recompute[block_list][:, :, index].sum(axis=0), by_block, strict=True
        )
    )


def _by_block(schedule: Schedule, numbers: ComponentNumbers) -> Iterator[tuple[str, int, list[int]]]:
    """(block list, component index, the component's number in each block)."""
    for block_list in schedule.spec.block_lists:
        blocks = schedule.shape.blocks[block_list.name]
        for index, component in enumerate(block_list.component_names):
            number = numbers[block_list.name, component]
            yield block_list.name, index, block_list.by_block(component, number, blocks)


def _count(workload: Work, convention: str) -> StepMacs:
    if convention not in CONVENTIONS:
        raise ConfigError(f"unknown MACs convention {convention!r}: use one of {', '.join(CONVENTIONS)}")
    if isinstance(workload, CountedWorkload):
        if convention != "true":
            raise _no_formulas(workload)
        return StepMacs(workload.component_macs, workload.constant_macs)
    return _formulas(workload).macs(workload, convention == "paper")


def _formulas(workload: Workload) -> Formulas:
    formulas = get_family(workload.family).formulas
    if formulas is None:
        raise _no_formulas(workload)
    return formulas


def _no_formulas(workload: Work) -> ModelError:
    return ModelError(f"there are no formulas for the MACs of family {workload.family!r}")


def _take_over_step(workload: Work, steps: int) -> int | None:
    if workload.take_over is None:
        return None
    # diffusers, whose schedulers say what timesteps there are
    from ecad.sampling.take_over import take_over_step

    return take_over_step(workload.take_over, steps)


def _check_fit(schedule: Schedule, workload: Work) -> None:
    if schedule.family != workload.family:
        raise ScheduleError(
            f"a schedule for family {schedule.family!r} has no cost on family {workload.family!r}"
        )
    blocks = _block_counts(workload)
    if dict(schedule.shape.blocks) != blocks:
        raise ScheduleError(
            f"the schedule is for {dict(schedule.shape.blocks)} blocks, the model has {blocks}"
        )


def _block_counts(workload: Work) -> dict[str, int]:
    return get_family(workload.family).block_counts(workload.transformer)
