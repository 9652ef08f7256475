"""What a schedule does in each step, in a form that is fast to look up while the model runs."""

from __future__ import annotations

from collections.abc import Mapping

from ecad.arrays import BoolArray
from ecad.schedule.liveness import feeds_of, plan_execution
from ecad.schedule.schedule import Schedule

# Plain nested lists [step][block][component]: indexing them is several times faster than indexing numpy scalars.
_Flags = Mapping[str, list[list[list[bool]]]]


class Plan:
    """`ecad.schedule.plan_execution` in a form that is fast to look up."""

    def __init__(self, schedule: Schedule, first_step: int, summed_runs: bool, everywhere: bool) -> None:
        plan = plan_execution(schedule, first_step, summed_runs, everywhere)
        self.first_step = first_step
        self.runs = _as_lists(plan.runs)
        self.reads = _as_lists(plan.reads)
        self.keeps = _as_lists(plan.keeps)
        self.runs_output: list[bool] = plan.runs_output.tolist()
        self.keeps_output: list[bool] = plan.keeps_output.tolist()
        self.stretches = plan.stretches
        self.outputs_of: list[int] = []  # for each stretch, how many go into its sums
        # (block list, step, block) -> the stretch that the block is in, by number
        self.in_stretch = {
            (stretch.block_list, step, block): number
            for number, stretch in enumerate(plan.stretches)
            for step in stretch.reads
            for block in stretch.blocks
        }
        # (block list, step, block) -> for each stretch that the outputs go into, their components
        self.feeds: dict[tuple[str, int, int], dict[int, list[int]]] = {}
        for number, stretch in enumerate(plan.stretches):
            outputs = feeds_of(plan, stretch)
            self.outputs_of.append(len(outputs))
            for step, block, component in outputs:
                place = self.feeds.setdefault((stretch.block_list, step, block), {})
                place.setdefault(number, []).append(component)


def _as_lists(arrays: Mapping[str, BoolArray]) -> _Flags:
    return {name: array.tolist() for name, array in arrays.items()}
