"""One block in one forward: which of its components run, and what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ecad.caching.modules import Key
from ecad.caching.stores import Slot
from ecad.caching.sums import Sums


def too_often(name: str, calls: int = 1) -> str:
    """What to say of a module that ran more than `calls` times in one forward."""
    times = "twice" if calls == 1 else f"more than {calls} times"
    return (
        f"{name} was called {times} in one forward (chunked feed-forward?): its outputs cannot be told apart, switch "
        "that off while a schedule is applied"
    )


class BlockRun:
    """What a block's code asks. Components go by their number in the block.

    `runs[i]`: the component is computed and its output given to `keep`. Otherwise `stored(i)` is its newest output, if
    `reads[i]`; if nobody reads it, it does not matter. `shared` is for what the blocks of one forward share, `kept` for
    what the forwards of one call do.

    A stretch of reused blocks may be read as sums: then its first block adds `sums`, the others (`is_inside`) nothing.
    `feeds` are the sums that outputs of this block go into, each with the numbers of those components; `outputs` are
    the new ones, where there are any.
    """

    __slots__ = (
        "_copies",
        "_keeps",
        "_keys",
        "_store",
        "feeds",
        "is_inside",
        "kept",
        "outputs",
        "reads",
        "runs",
        "shared",
        "sums",
    )
    is_alone = False  # what the blocks of one forward have in common may be shared

    def __init__(
        self,
        runs: list[bool],
        reads: list[bool],
        keeps: list[bool],
        keys: tuple[Key, ...],
        store: dict[Slot, Any],
        shared: dict[str, Any],
        kept: dict[str, Any],
        copies: bool = False,
    ) -> None:
        self.runs = runs
        self.reads = reads
        self.shared = shared
        self.kept = kept
        self.sums: Sums | None = None
        self.is_inside = False
        self.feeds: Sequence[tuple[Sums, Sequence[int]]] = ()
        self.outputs: dict[int, Any] = {}
        self._copies = copies  # outputs, before they are stored
        self._keeps = keeps
        self._keys = keys
        self._store = store

    @property
    def is_complete(self) -> bool:
        """Whether every component is computed: then the block computes exactly what it would without a schedule."""
        return all(self.runs)

    def stored(self, component: int) -> Any:
        """The newest output, for the last time if no later step reads it."""
        key = self._keys[component]
        return self._store[key] if self._keeps[component] else self._store.pop(key)

    def keep(self, component: int, output: Any) -> Any:
        """Note a new output, and return it."""
        if self._copies:
            output = copy_of(output)
        if self.feeds:
            self.outputs[component] = output
        if self._keeps[component]:
            self._store[self._keys[component]] = output
        else:
            self._store.pop(self._keys[component], None)
        return output


def copy_of(output: Any) -> Any:
    return tree_map(lambda value: value.clone() if isinstance(value, torch.Tensor) else value, output)


def add_gated(residual: torch.Tensor, gate: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """residual + gate * output: on a CPU to the last bit, elsewhere in one operation where types allow it."""
    if not residual.dtype == gate.dtype == output.dtype:
        return residual + gate * output
    if residual.device.type == "cpu":
        return (gate * output).add_(residual)
    return torch.addcmul(residual, gate, output)


def modulated(normed: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, exact: bool) -> torch.Tensor:
    """normed * scale + shift; in one operation unless it must be `exact`, on a CPU always to the last bit."""
    if exact or normed.device.type == "cpu" or not normed.dtype == scale.dtype == shift.dtype:
        return normed * scale + shift
    return torch.addcmul(shift, normed, scale)
