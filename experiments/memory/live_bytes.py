"""Bytes that tensors hold, followed allocation by allocation, without a GPU: on the CPU and on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ecad.schedule import ExecutionPlan, Schedule, plan_execution


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations allocate while this is entered, until the last tensor on them dies.

    `current` and `peak` are bytes; what was there before (weights, inputs) does not count, views count once. Working
    memory inside one operation (of matrix products, of convolutions) does not show, nor do rounding and gaps of an
    allocator. It holds on the meta device too, whose storages have sizes but no memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}  # address of a living storage -> its bytes; 0 for those from before

    def restart_peak(self) -> None:
        self.peak = self.current

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            self._note(tensor, counts=False)
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            self._note(tensor, counts=True)
        self.peak = max(self.peak, self.current)
        return result

    def _note(self, tensor: Any, *, counts: bool) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._sizes:
            return
        self._sizes[address] = storage.nbytes() if counts else 0
        self.current += self._sizes[address]
        # The Python object of a storage lives as long as the storage itself.
        weakref.finalize(storage, self._forget, address)

    def _forget(self, address: int) -> None:
        self.current -= self._sizes.pop(address)


class FusedAttention(TorchFunctionMode):
    """On the meta device, attention allocates what a GPU's fused kernels do: its output and a number per query.

    Otherwise torch takes the plain products there, with all scores in memory, as no GPU does.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.nn.functional.scaled_dot_product_attention:
            return _fused(*args, **kwargs)
        return function(*args, **kwargs)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    if attn_mask is None:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
    mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, mask, False, dropout_p, is_causal, scale=scale)[0]


@contextmanager
def keep_everything() -> Iterator[None]:
    """Schedules applied inside compute what nobody reads, too, and keep every newest output, as a plain cache does."""

    def plan(
        schedule: Schedule, first_step: int = 0, summed_runs: bool = False, everywhere: bool = False
    ) -> ExecutionPlan:
        runs = {name: flags.copy() for name, flags in schedule.recompute.items()}
        for name in runs:
            runs[name][first_step] = True
        everything = schedule.shape.filled(True)
        return replace(plan_execution(schedule, first_step), runs=runs, reads=everything, keeps=everything)

    with patch("ecad.caching.plan.plan_execution", plan):
        yield
