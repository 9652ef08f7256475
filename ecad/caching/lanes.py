"""What is stored for each lane of a call: outputs, stand-ins for those that nobody reads, sums."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ecad.caching.clock import Lane
from ecad.caching.modules import Key
from ecad.caching.plan import Plan
from ecad.caching.stores import Slot, new_store
from ecad.caching.sums import Sums


def slot_of(key: Key, call: int) -> Slot:
    """Where the output of a component's call is stored; `call` is its number in the forward, from 0."""
    return key if call == 0 else (*key, call)


def _blank_like(value: Any) -> Any:
    return value.new_zeros(()).expand(value.shape) if isinstance(value, torch.Tensor) else value


class LaneState:
    """The stored outputs of one lane (see `Tick`), and the plan they follow."""

    def __init__(self, plan: Plan, layout: Hashable, store: str | None) -> None:
        self.plan = plan
        self.layout = layout  # of the inputs that the stored outputs were made of
        self.step = plan.first_step  # that it ran last
        self.store = new_store(store)
        self.blanks: dict[Slot, Any] = {}
        self.output: Any = None  # the transformer's own, as it was returned
        self.sums: dict[int, Sums] = {}  # by the number of the stretch

    @property
    def stored_outputs(self) -> int:
        """Number of outputs that are stored at the moment."""
        return len(self.store) + (self.output is not None) + sum(each.tensors for each in self.sums.values())

    def blank_of(self, slot: Slot) -> Any:
        """A stand-in for an output that nobody reads: right shape, dtype and device, and no memory of its own.

        None if there is none.
        """
        return self.blanks.get(slot)

    def note_blank(self, slot: Slot, output: Any) -> None:
        # The block still joins it to its neighbours, so it must be of the right shape; zeros raise no warnings.
        if slot not in self.blanks:
            self.blanks[slot] = tree_map(_blank_like, output)

    def snapshot(self) -> LaneSnapshot:
        return LaneSnapshot(
            self.plan.first_step, self.step, self.layout, dict(self.store), dict(self.blanks), self.output
        )

    @classmethod
    def of(cls, saved: LaneSnapshot, plan: Plan, store: str | None) -> LaneState:
        """What was saved, under this plan."""
        lane = cls(plan, saved.layout, store)
        lane.step = saved.step
        lane.store.update(saved.store)
        lane.blanks.update(saved.blanks)
        lane.output = saved.output
        return lane


@dataclass(frozen=True)
class LaneSnapshot:
    """What one lane has stored."""

    first_step: int
    step: int  # that it ran last
    layout: Hashable
    store: Mapping[Slot, Any]
    blanks: Mapping[Slot, Any]
    output: Any


@dataclass(frozen=True)
class CacheSnapshot:
    """What is stored between two steps of a call; the outputs themselves are shared, not copied."""

    position: Any  # of the clock
    store: str | None  # in which form outputs are held
    lanes: Mapping[Lane, LaneSnapshot]
    denoised: torch.Tensor | None = None  # the clean sample that is held, see `ecad.caching.held`
