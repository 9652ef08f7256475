"""`ecad.apply`, `ecad.remove` and `ecad.applied`: put a schedule on a pipeline and take it off again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ecad.caching.applied import AppliedSchedule, applied_to
from ecad.caching.blocks import KnownBlock, known_block
from ecad.caching.checks import check_model, refuse_different_families
from ecad.caching.clock import CountingClock, SchedulerClock, StepClock
from ecad.caching.denoised import needs_conversion
from ecad.caching.held import HeldSample
from ecad.caching.modules import Key, are_watched, blocks_of
from ecad.caching.note import note_of_transfer
from ecad.caching.state import CacheState
from ecad.caching.stores import new_store
from ecad.caching.targets import find_transformers
from ecad.caching.together import AppliedTogether
from ecad.errors import ScheduleError
from ecad.schedule.files import load_schedule
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS_DENOISED

FOLLOW_CALL = "resample"  # a value of `steps`

_LOGGER = logging.getLogger("ecad")


def apply(
    target: Any,
    schedule: Schedule | str | os.PathLike[str],
    *,
    steps: int | str | None = None,
    fast_path: bool = True,
    summed_runs: bool | None = None,
    store: str | None = None,
) -> AppliedSchedule:
    """Make a diffusers pipeline (or a bare transformer) follow a schedule from its next call on.

    `schedule` is a `Schedule`, a file (YAML of ecad, JSON of the official implementation), the name of one that ships
    with ecad ("pixart-mini/fast"), or an address ("hf://owner/name/fast.yaml", "https://host/fast.yaml#sha256=HEX").

    Every pipeline of the model's transformer class will do (text-to-image, image-to-image, inpainting, ...).
    `num_inference_steps` of a call must be the schedule's. Image-to-image with `strength` runs only the last
    steps of them: it enters the schedule at its own first step k, recomputes everything there, since nothing is
    stored yet, and follows rows k + 1, k + 2, ... as they are. Where a pipeline runs the transformer twice a step
    (FLUX with `true_cfg_scale`), each of the two passes keeps outputs of its own: twice the memory.

    A schedule that holds the clean sample (`Schedule.holds`) stands before the `step` of the pipeline's scheduler, too,
    from the first call on.

    Values that nobody would read are not computed (see `ecad.schedule.effective`). LoRA adapters, IP-Adapters,
    fused projections, quantised layers and offloading may be there before or come after; a component is called
    or not called as a whole, whatever is inside. A transformer without a pipeline counts its forwards: call
    `reset()` on the result between images.

    `steps` is for calls with another number of steps than the schedule's: a number resamples the schedule to it at
    once (`Schedule.resample`), "resample" does so for whatever number each call has. Without it such a call is
    refused. A schedule that was learnt on another model of the same blocks is applied, and a note logged (logger
    "ecad", level INFO): its quality there is not known, as it is not after resampling.

    `fast_path` decides blocks of known classes (PixArt, FLUX, Sana, ...) as a whole and computes nothing of a reused
    one that nobody reads; where everything is recomputed, to the last bit what the model does. Without it, and for all
    other blocks, every component has a hook of its own: norms and modulations of reused components still run.

    `summed_runs` reads stretches of fully reused blocks as three sums where the model allows it (PixArt, Sana, Wan,
    ...). Sums differ from what blocks would add one after the other in the last bits (float32) or by less than
    bfloat16's own rounding. By default (None) where it pays in time, and not where somebody looks at blocks one by one
    (a hook on a block, `keep_everything`). True: wherever it saves memory, and refuses these. False: never.

    `store` saves a GPU's memory: "bfloat16" keeps outputs of a float32 model in half of it, rounded (sums stay as they
    are); "cpu" keeps them in the host's memory, bit for bit, and fetches those of a block while the one before runs.

    The model may be compiled, before or after, as a whole or block by block: what blocks compute for each pattern of
    recompute and reuse is compiled once, with the options that were given; the code round the blocks runs as Python.

    Raises ScheduleError if the schedule does not fit the model, or if a schedule or another cache is already
    installed, and ModelError if its class is unknown or a forward was replaced by a compiled function; the model is
    then untouched. What can be known only when the pipeline is called (its number of steps) is checked there, before
    any step.
    """
    if not isinstance(schedule, Schedule):
        schedule = load_schedule(schedule)
    follows_call = steps == FOLLOW_CALL
    if isinstance(steps, str) and not follows_call:
        raise ScheduleError(f"steps must be a number of steps or {FOLLOW_CALL!r}, not {steps!r}")
    if steps is not None and not isinstance(steps, str):
        schedule = schedule.resample(steps)
    new_store(store)
    pipeline, transformers = find_transformers(target)
    for transformer in transformers:
        current = applied_to(transformer)
        if current is not None:
            raise ScheduleError(
                f"a schedule ({current.schedule.name!r}) is already applied to this model: "
                "call ecad.remove(pipe) first"
            )
    refuse_different_families(pipeline, transformers)
    components = [check_model(pipeline, transformer, schedule) for transformer in transformers]
    clocks: list[StepClock] = []
    held = _held_on(pipeline, schedule)
    if pipeline is None:
        if follows_call:
            raise ScheduleError(
                "steps='resample' needs a pipeline, whose scheduler knows the number of steps: give the number "
                "(steps=30) for a transformer alone"
            )
        clocks.append(CountingClock(schedule.steps))
    else:
        clocks += SchedulerClock.for_all(
            pipeline, None if follows_call else schedule.steps, len(transformers)
        )
    parts = [
        _prepared(transformer, schedule, modules, clock, fast_path, summed_runs, store, held)
        for transformer, modules, clock in zip(transformers, components, clocks, strict=True)
    ]
    result = parts[0] if len(parts) == 1 else AppliedTogether(parts)
    result.install()
    note = note_of_transfer(pipeline, transformers[0], schedule)
    if note is not None:
        _LOGGER.info(note)
    return result


def _prepared(
    transformer: nn.Module,
    schedule: Schedule,
    components: dict[Key, nn.Module],
    clock: StepClock,
    fast_path: bool,
    summed_runs: bool | None,
    store: str | None,
    held: HeldSample | None,
) -> AppliedSchedule:
    """What is to be installed on one transformer."""
    blocks = _known_blocks(transformer, schedule, components) if fast_path else []
    by_block = {key for _, _, keys in blocks for key in keys}
    by_hooks = {key: module for key, module in components.items() if key not in by_block}
    # Sums go through all blocks of a list: every one must be decided as a whole, and on one device.
    devices = {parameter.device for block, _, _ in blocks for parameter in block.parameters(recurse=False)}
    can_sum = not by_hooks and len(devices) == 1 and not are_watched(block for block, _, _ in blocks)
    sums = can_sum and summed_runs is not False
    state = CacheState(schedule, clock, components, sums, store, summed_runs is True, held)
    return AppliedSchedule(transformer, state, by_hooks, blocks, sums_are_asked_for=summed_runs is True)


def _held_on(pipeline: Any | None, schedule: Schedule) -> HeldSample | None:
    """For a schedule that holds the clean sample; ScheduleError where that cannot be."""
    if schedule.holds != HOLDS_DENOISED:
        return None
    if pipeline is not None:
        if schedule.reuses_output:
            needs_conversion(pipeline)
        return HeldSample(pipeline)
    if schedule.reuses_output:
        raise ScheduleError(
            f"the schedule {schedule.name!r} holds the clean sample predicted last, which the scheduler of a pipeline "
            "knows: apply it to the pipeline, not to the transformer alone"
        )
    return None


def _known_blocks(
    transformer: nn.Module, schedule: Schedule, components: Iterable[Key]
) -> list[tuple[nn.Module, KnownBlock, tuple[Key, ...]]]:
    """The blocks that can be decided as a whole, with the code for each and the keys of its components."""
    keys_of: dict[tuple[str, int], list[Key]] = {}
    for key in components:
        keys_of.setdefault(key[:2], []).append(key)
    found, others = [], set()
    for block_list in schedule.spec.block_lists:
        for number, block in enumerate(blocks_of(transformer, block_list)):
            keys = tuple(keys_of[block_list.name, number])
            names = tuple(block_list.component_names[component] for _, _, component in keys)
            known = known_block(block, names)
            if known is None:
                others.add(type(block).__name__)
            else:
                found.append((block, known, keys))
    if others:
        _LOGGER.info("no fast path for blocks %s: their components have hooks", ", ".join(sorted(others)))
    return found


def remove(target: Any) -> None:
    """Restore the untouched pipeline, bit for bit. Without an applied schedule it does nothing."""
    _, transformers = find_transformers(target)
    for transformer in transformers:
        current = applied_to(transformer)
        if current is not None:
            current.remove()


@contextmanager
def applied(
    target: Any,
    schedule: Schedule | str | os.PathLike[str],
    *,
    steps: int | str | None = None,
    fast_path: bool = True,
    summed_runs: bool | None = None,
    store: str | None = None,
) -> Iterator[AppliedSchedule]:
    """Context manager: `apply` at its start, `remove` at its end, also after an error."""
    result = apply(target, schedule, steps=steps, fast_path=fast_path, summed_runs=summed_runs, store=store)
    try:
        yield result
    finally:
        result.remove()
