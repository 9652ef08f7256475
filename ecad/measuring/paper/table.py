"""What schedules of one model take on paper: a number for each pattern of a block, added up by the schedule's plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ecad.caching.modules import blocks_of, modules_beside_blocks
from ecad.errors import ScheduleError
from ecad.families import BlockList, get_family
from ecad.families.family import Workload
from ecad.measuring.paper.blocks import PaperBlock
from ecad.measuring.paper.devices import PaperDevice
from ecad.measuring.paper.kernels import Kernels, recorded
from ecad.sampling.without_weights import build
from ecad.schedule import Schedule
from ecad.schedule.liveness import ExecutionPlan, feeds_of, plan_execution


class PaperTable:
    """Seconds on a GPU that is not at hand, of the transformer alone, per image in batches of `images`.

    With `is_compiled` under `torch.compile`, whose kernels are counted as `ecad.measuring.paper.kernels` says: the
    uncached model as one graph, a schedule's blocks each for itself and the rest as Python.
    """

    def __init__(
        self,
        family: str,
        transformer: nn.Module,
        inputs: Mapping[str, Any],
        images: int,
        device: PaperDevice,
        is_compiled: bool = False,
    ) -> None:
        self.device = device
        self.images = images
        self.is_compiled = is_compiled
        self._family = family
        spec = get_family(family)
        lists = {each: blocks_of(transformer, each) for each in spec.block_lists}
        forward = _Forward(lists, modules_beside_blocks(transformer, spec), transformer, inputs)
        self._blocks = {
            each.name: PaperBlock(each, blocks, forward.given[each.name], device, is_compiled)
            for each, blocks in lists.items()
        }
        self._counts = {each.name: len(blocks) for each, blocks in lists.items()}
        self._outside_s = forward.outside_s(device, is_compiled)  # a forward, round the blocks
        kernels = forward.kernels
        self._uncached_s = kernels.fused_s(device) if is_compiled else kernels.eager_s(device)

    def uncached_s(self, steps: int) -> float:
        """The untouched model: seconds per image."""
        return steps * self._uncached_s / self.images

    def predict(self, schedule: Schedule) -> float:
        """Seconds per image."""
        if schedule.family != self._family or dict(schedule.shape.blocks) != self._counts:
            raise ScheduleError(
                f"the time on paper is of {self._counts} blocks, the schedule is for {dict(schedule.shape.blocks)}"
            )
        plan = plan_execution(schedule, summed_runs=True)
        total = 0.0
        for step in range(schedule.steps):
            if plan.runs_output[step]:
                total += self._outside_s + sum(self._step_s(plan, name, step) for name in self._blocks)
        total += sum(block.kept_s for block in self._blocks.values())
        return (total + self._sums_s(plan)) / self.images

    def speedup(self, schedule: Schedule) -> float:
        return self.uncached_s(schedule.steps) / self.predict(schedule)

    def _step_s(self, plan: ExecutionPlan, name: str, step: int) -> float:
        summed = {
            block
            for stretch in plan.stretches
            if stretch.block_list == name and step in stretch.reads
            for block in stretch.blocks
        }
        paper = self._blocks[name]
        others = [block for block in range(self._counts[name]) if block not in summed]
        runs, reads = plan.runs[name][step], plan.reads[name][step]
        total = paper.shared_s if others else 0.0
        reused = [block not in summed and not runs[block].any() for block in range(self._counts[name])]
        block = 0
        while block < self._counts[name]:
            together = paper.reused_together
            if together > 1 and all(reused[block : block + together]) and block + together <= len(reused):
                total += paper.chain_s()
                block += together
                continue
            if block not in summed:
                total += paper.seconds(tuple(map(bool, runs[block])), tuple(map(bool, reads[block])))
            block += 1
        return total

    def _sums_s(self, plan: ExecutionPlan) -> float:
        total = 0.0
        for stretch in plan.stretches:
            places: dict[tuple[int, int], list[int]] = {}
            for step, block, component in sorted(feeds_of(plan, stretch)):
                places.setdefault((step, block), []).append(component)
            blocks = tuple(map(tuple, places.values()))
            total += self._blocks[stretch.block_list].summing_s(blocks, len(stretch.reads))
        return total


class _Forward:
    """One uncached forward: its kernels, which of them belong to what, and the arguments of one block of each list."""

    def __init__(
        self,
        lists: Mapping[BlockList, Sequence[nn.Module]],
        beside: Sequence[nn.Module],
        transformer: nn.Module,
        inputs: Mapping[str, Any],
    ) -> None:
        self.given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._blocks: list[range] = []
        self._beside: list[range] = []  # modules beside the blocks, each compiled for itself
        with recorded() as recorder, ExitStack() as hooks:
            operations = recorder.kernels.operations
            for block_list, blocks in lists.items():
                for number, block in enumerate(blocks):
                    # What the first block is given may lie in memory as no other block's inputs do.
                    name = block_list.name if number == min(1, len(blocks) - 1) else None
                    hooks.enter_context(self._watched(block, name, operations, self._blocks))
            for module in beside:
                hooks.enter_context(self._watched(module, None, operations, self._beside))
            recorder.keep(transformer(**inputs))
        self.kernels = recorder.kernels

    def outside_s(self, device: PaperDevice, is_compiled: bool) -> float:
        """Seconds of what is round the blocks."""
        apart = [*self._blocks, *(self._beside if is_compiled else [])]
        taken = {number for numbers in apart for number in numbers}
        rest = [each for number, each in enumerate(self.kernels.operations) if number not in taken]
        total = Kernels(rest).eager_s(device)
        if is_compiled:
            total += sum(self.kernels.part(numbers).fused_s(device) for numbers in self._beside)
        return total

    @contextmanager
    def _watched(
        self, module: nn.Module, name: str | None, operations: Sequence[Any], ranges: list[range]
    ) -> Iterator[None]:
        start = 0

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            nonlocal start
            start = len(operations)
            if name is not None:
                self.given[name] = (args, kwargs)

        def after(*_: Any) -> None:
            ranges.append(range(start, len(operations)))

        handles = [
            module.register_forward_pre_hook(before, with_kwargs=True),
            module.register_forward_hook(after),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def paper_table(
    workload: Workload,
    device: PaperDevice,
    *,
    images: int = 1,
    is_compiled: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> PaperTable:
    """The table of a model at full size; ModelError for families that cannot be built without weights."""
    transformer, inputs = build(workload, images, dtype)
    return PaperTable(workload.family, transformer, inputs, images, device, is_compiled)
