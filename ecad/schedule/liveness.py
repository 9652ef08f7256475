"""What a schedule makes a model do: which components run, whose outputs are read, and which are kept.

Some components only feed another one (`Component.feeds`: in FLUX's single-stream blocks `attn` and `proj_mlp` are
read by `proj_out` alone). A value that no executed consumer reads before it is overwritten is dead: it need not be
computed, and the images stay the same bit for bit. All of this follows from the schedule alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.families.family import BlockList
from ecad.schedule.schedule import Schedule
from ecad.schedule.summed import Stretch, stretches

WHOLE_OUTPUT = ("transformer", "output")  # beside (block list, component): the transformer's own output


@dataclass(frozen=True)
class ExecutionPlan:
    """What happens at every step of a call; each mapping is block list -> bool array (steps, blocks, components).

    `runs`: the component is computed. `reads`: somebody reads its output, new or stored. `keeps`: the newest
    output is stored after the step, because a later step reads it. `runs_output` and `keeps_output`, shape (steps,),
    say the same of the transformer's whole output, which the scheduler reads in every step. Steps before `first_step`
    are all False. `stretches` are read as sums (`ecad.schedule.summed`): their blocks' outputs are not read one by one.
    """

    first_step: int
    runs: Mapping[str, BoolArray]
    reads: Mapping[str, BoolArray]
    keeps: Mapping[str, BoolArray]
    runs_output: BoolArray
    keeps_output: BoolArray
    stretches: tuple[Stretch, ...] = ()


def plan_execution(
    schedule: Schedule, first_step: int = 0, summed_runs: bool = False, everywhere: bool = False
) -> ExecutionPlan:
    """The plan of a call that enters the schedule at `first_step` (image-to-image) and recomputes all there.

    With `summed_runs` stretches of fully reused blocks are read as sums, where that is possible and pays: in time,
    or with `everywhere` in memory, in such a way that no more is held than without sums.
    """
    if not 0 <= first_step < schedule.steps:
        raise ScheduleError(
            f"first step {first_step} is outside this schedule's steps 0 to {schedule.steps - 1}"
        )
    found = _stretches_in(schedule, first_step, everywhere) if summed_runs else []
    if not everywhere:
        return _plan_with(schedule, first_step, found)
    # Small stretches that are held at the same time may take more than their outputs do.
    counts = {len(found) >> halvings for halvings in range(len(found).bit_length() + 1)}
    plans = [_plan_with(schedule, first_step, found[:count]) for count in sorted(counts, reverse=True)]
    return min(plans, key=lambda plan: int(_held_after_step(plan).max()))


def _stretches_in(schedule: Schedule, first_step: int, everywhere: bool) -> list[Stretch]:
    """Those that pay, the most profitable ones of a list first."""
    runs_output, found = _runs_output(schedule, first_step), []
    for block_list in schedule.spec.block_lists:
        present = schedule.shape.present[block_list.name]
        if block_list.sums_up and present.all():
            quiet: BoolArray = np.logical_not(schedule.recompute[block_list.name].any(axis=2))
            quiet[: first_step + 1] = False
            found += stretches(block_list.name, quiet, runs_output, everywhere)
    return found


def _runs_output(schedule: Schedule, first_step: int) -> BoolArray:
    runs_output = schedule.recompute_output.copy()
    runs_output[:first_step] = False
    runs_output[first_step] = True
    return runs_output


def _plan_with(schedule: Schedule, first_step: int, found: Sequence[Stretch]) -> ExecutionPlan:
    """The plan in which these stretches are read as sums."""
    shape = schedule.shape
    runs_output = _runs_output(schedule, first_step)
    keeps_output = np.zeros_like(runs_output)
    keeps_output[first_step:-1] = ~runs_output[first_step + 1 :]
    runs, reads, keeps = shape.filled(False), shape.filled(False), shape.filled(False)
    for block_list in schedule.spec.block_lists:
        name = block_list.name
        flagged = schedule.recompute[name].copy()
        present = shape.present[name]
        flagged[first_step] = present
        is_summed = np.zeros(flagged.shape[:2], dtype=np.bool_)
        for stretch in found:
            if stretch.block_list == name:
                is_summed[np.ix_(stretch.reads, stretch.blocks)] = True
        # Consumers first: whether a component is read depends on when its consumer runs.
        for indices, consumers in _consumers_first(block_list):
            if consumers is None:
                is_read = (runs_output[:, None] & ~is_summed)[:, :, None]
            else:
                is_read = runs[name][:, :, consumers]
            is_read = is_read & present[:, indices]
            is_flagged = flagged[:, :, indices]
            is_run, is_kept = np.zeros_like(is_read), np.zeros_like(is_read)
            # Is the value before `step` read from it on?
            read_later = np.zeros(is_read.shape[1:], dtype=np.bool_)
            for step in reversed(range(first_step, schedule.steps)):
                is_kept[step] = read_later
                is_needed = is_read[step] | read_later
                is_run[step] = is_flagged[step] & is_needed
                read_later = is_needed & ~is_flagged[step]
            reads[name][:, :, indices], runs[name][:, :, indices] = is_read, is_run
            keeps[name][:, :, indices] = is_kept
    return ExecutionPlan(first_step, runs, reads, keeps, runs_output, keeps_output, tuple(found))


def _consumers_first(block_list: BlockList) -> list[tuple[list[int], list[int] | None]]:
    """Indices of components, each once: first those that feed no other one (None), then those whose consumers were
    among the ones before, with the indices of these."""
    names = block_list.component_names
    fed = [None if each.feeds is None else names.index(each.feeds) for each in block_list.components]
    known = [index for index, consumer in enumerate(fed) if consumer is None]
    levels: list[tuple[list[int], list[int] | None]] = [(known, None)]
    while known:
        known = [index for index, consumer in enumerate(fed) if consumer in known]
        if known:
            levels.append((known, [consumer for index in known if (consumer := fed[index]) is not None]))
    return levels


def feeds_of(plan: ExecutionPlan, stretch: Stretch) -> list[tuple[int, int, int]]:
    """(step, block, component) of the outputs that a stretch sums up: the newest before its first read."""
    runs = plan.runs[stretch.block_list][: stretch.reads[0]]
    return [
        (int(np.flatnonzero(runs[:, block, component])[-1]), block, component)
        for block in stretch.blocks
        for component in range(runs.shape[2])
    ]


def effective(schedule: Schedule, take_over: int | None = None) -> Schedule:
    """The schedule without dead compute: True exactly where a component really runs.

    At `take_over` another transformer takes over (Wan 2.2): it enters the schedule there, and recomputes all. The first
    one does not know that, and computes what it would have read later.

    Schedules with the same effective schedule give the same images at the same cost, also where a call enters
    them at a later step; compare `effective(schedule).digest()` to find duplicates. Applying it twice changes
    nothing. Families without components that feed others are returned with equal bits.
    """
    if take_over is None and not any(
        component.feeds for block_list in schedule.spec.block_lists for component in block_list.components
    ):
        return schedule
    before = plan_execution(schedule)
    if take_over is None:
        return schedule.replace(recompute=before.runs)
    after = plan_execution(schedule, take_over)
    runs = {
        name: np.concatenate([before.runs[name][:take_over], after.runs[name][take_over:]])
        for name in schedule.recompute
    }
    output = np.concatenate([before.runs_output[:take_over], after.runs_output[take_over:]])
    return schedule.replace(recompute=runs, recompute_output=output)


def stretches_after_step(
    schedule: Schedule, first_step: int = 0, everywhere: bool = False
) -> npt.NDArray[np.int64]:
    """Number of stretches whose sums are held after each step, shape (steps,); each is three tensors in float32."""
    plan = plan_execution(schedule, first_step, summed_runs=True, everywhere=everywhere)
    return _stretches_after_step(plan)


def _stretches_after_step(plan: ExecutionPlan) -> npt.NDArray[np.int64]:
    held = np.zeros(len(plan.runs_output), dtype=np.int64)
    for stretch in plan.stretches:
        held[min(step for step, _, _ in feeds_of(plan, stretch)) : stretch.reads[-1]] += 1
    return held


def _held_after_step(plan: ExecutionPlan) -> npt.NDArray[np.int64]:
    """What is stored after each step, in outputs of 16 bits: three sums in 32 are six."""
    held = 6 * _stretches_after_step(plan)
    for keeps in plan.keeps.values():
        held += keeps.sum(axis=(1, 2), dtype=np.int64)
    return held


def stored_after_step(
    schedule: Schedule, first_step: int = 0, summed_runs: bool = False, everywhere: bool = False
) -> dict[tuple[str, str], npt.NDArray[np.int64]]:
    """(block list, component) -> number of blocks whose output is stored after each step, shape (steps,).

    The transformer's whole output has the key `WHOLE_OUTPUT`, and counts 0 or 1. With the size of an output it gives
    the bytes that a schedule keeps; per context where a pipeline calls the transformer several times a step. After the
    last step nothing is stored. With `summed_runs` those that only stretches read are not among them (see
    `stretches_after_step`).
    """
    plan = plan_execution(schedule, first_step, summed_runs, everywhere)
    keeps = plan.keeps
    stored = {
        (block_list.name, component): keeps[block_list.name][:, :, index].sum(axis=1, dtype=np.int64)
        for block_list in schedule.spec.block_lists
        for index, component in enumerate(block_list.component_names)
    }
    return {**stored, WHOLE_OUTPUT: plan.keeps_output.astype(np.int64)}
