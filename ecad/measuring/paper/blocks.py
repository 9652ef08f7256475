"""What one block takes on paper for a pattern of recompute and reuse, by its code's kernels on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from ecad.caching.block_run import BlockRun
from ecad.caching.blocks import known_block
from ecad.caching.compiling import BLOCKS_TOGETHER, TracedRun, chain_pattern
from ecad.caching.stores import Slot
from ecad.caching.sums import Sums
from ecad.families import BlockList
from ecad.measuring.paper.devices import PaperDevice
from ecad.measuring.paper.kernels import Kernels, recorded

Flags = tuple[bool, ...]  # one for each component of a block


class PaperBlock:
    """One block of a list, which stands for all, and the arguments that it is called with.

    Where the block's class has no code of its own, hooks are counted as in eager mode, also if `is_compiled`.
    """

    def __init__(
        self,
        block_list: BlockList,
        blocks: Sequence[nn.Module],
        given: tuple[tuple[Any, ...], dict[str, Any]],
        device: PaperDevice,
        is_compiled: bool,
    ) -> None:
        self._list = block_list
        self._blocks = blocks
        self._args, self._kwargs = given
        self._kwargs = dict(self._kwargs)
        self._device = device
        self._is_compiled = is_compiled
        self._known = known_block(blocks[0], block_list.component_names)
        self._shared: dict[str, Any] = {}  # by the blocks of a forward
        self._kept: dict[str, Any] = {}  # by those of a call
        self._outputs = self._all_outputs()
        self._seconds: dict[tuple[Flags, Flags], float] = {}
        self._chain: float | None = None
        self._summing: dict[tuple[tuple[tuple[int, ...], ...], int], float] = {}
        self.untouched_s = self._time(lambda: self._blocks[0](*self._args, **self._kwargs))
        self.shared_s = 0.0  # a forward, for what its blocks have in common
        self.kept_s = 0.0  # a call, likewise
        if self._known is not None and not is_compiled:
            self._time_shared()

    def seconds(self, runs: Flags, reads: Flags) -> float:
        """Of one block, beside what is shared."""
        if (runs, reads) not in self._seconds:
            self._seconds[runs, reads] = self._time_pattern(runs, reads)
        return self._seconds[runs, reads]

    @property
    def reused_together(self) -> int:
        """How many fully reused blocks behind each other are one piece of code."""
        can_chain = self._is_compiled and self._known is not None and self._known.is_chained
        return BLOCKS_TOGETHER if can_chain else 1

    def chain_s(self) -> float:
        """So many fully reused blocks."""
        if self._chain is None:
            self._chain = self._time_chain()
        return self._chain

    def _time_chain(self) -> float:
        known, none, every = self._known, (False,) * self._width, (True,) * self._width
        if known is None:
            raise ValueError("no code for this block")
        with torch.device("meta"), torch.no_grad():
            args, kwargs = known.enter(self._run(none, every, {}, {}), True, *self._args, **self._kwargs)
        stored = [[torch.empty_like(each) for each in self._outputs] for _ in range(BLOCKS_TOGETHER)]
        pattern = chain_pattern(known, self._width)
        return self._time(lambda: pattern((self._blocks[0],) * BLOCKS_TOGETHER, stored, args, kwargs))

    def summing_s(self, places: tuple[tuple[int, ...], ...], reads: int) -> float:
        """A stretch read as sums so often; `places` are the components that go in, block by block."""
        if (places, reads) not in self._summing:
            self._summing[places, reads] = self._time_sums(places, reads)
        return self._summing[places, reads]

    def _time_sums(self, places: tuple[tuple[int, ...], ...], reads: int) -> float:
        if self._known is None or self._known.summing is None:
            raise ValueError(f"blocks of {self._list.name} are not read as sums")
        summing = self._known.summing
        sums = Sums(sum(map(len, places)))
        together = BLOCKS_TOGETHER if self._is_compiled else 1
        total = 0.0

        def call(function: Any, *args: Any) -> Any:
            nonlocal total
            with recorded() as recorder:
                result = function(*args)
            recorder.keep(result)
            total += self._seconds_of(recorder.kernels)
            return result

        for components in places:
            run = self._run((True,) * self._width, (True,) * self._width, {}, {})
            run.outputs = dict(enumerate(self._outputs))
            run.feeds = [(sums, components)]
            with torch.no_grad():
                summing.feed(run, call, self._blocks[0], together)
        for _ in range(reads):
            with torch.no_grad():
                summing.read(sums, call, *self._args, **self._kwargs)
        return total

    @property
    def _width(self) -> int:
        return len(self._list.components)

    def _run(self, runs: Flags, reads: Flags, shared: dict[str, Any], kept: dict[str, Any]) -> BlockRun:
        keys = tuple((self._list.name, 0, index) for index in range(self._width))
        store: dict[Slot, Any] = dict(zip(keys, self._outputs, strict=True))
        return BlockRun(list(runs), list(reads), [True] * self._width, keys, store, shared, kept)

    def _all_outputs(self) -> list[Any]:
        """What each component returns."""
        found: dict[int, Any] = {}
        handles = [
            self._blocks[0]
            .get_submodule(component.name)
            .register_forward_hook(lambda _module, _args, output, index=index: found.update({index: output}))
            for index, component in enumerate(self._list.components)
        ]
        try:
            with recorded():
                self._blocks[0](*self._args, **self._kwargs)
        finally:
            for handle in handles:
                handle.remove()
        return [found[index] for index in range(self._width)]

    def _time(self, code: Callable[[], Any], more: Callable[[], Any] = lambda: None) -> float:
        """Of some code, whose result is used, and what `more` returns afterwards."""
        with recorded() as recorder:
            result = code()
        recorder.keep((result, more()))
        return self._seconds_of(recorder.kernels)

    def _seconds_of(self, kernels: Kernels) -> float:
        return kernels.fused_s(self._device) if self._is_compiled else kernels.eager_s(self._device)

    def _time_pattern(self, runs: Flags, reads: Flags) -> float:
        if self._known is None:
            return self._time_hooks(runs)
        if not self._is_compiled:
            return self._time(lambda: self._forward(self._run(runs, reads, dict(self._shared), self._kept)))
        known = self._known
        with torch.device("meta"), torch.no_grad():
            args, kwargs = known.enter(self._run(runs, reads, {}, {}), True, *self._args, **self._kwargs)
        traced = TracedRun(runs, reads, self._outputs)
        return self._time(
            lambda: known.forward(traced, (self._blocks[0],), 0, *args, **kwargs), lambda: traced.outputs
        )

    def _forward(self, run: BlockRun) -> Any:
        known = self._known
        if known is None:
            raise ValueError("no code for this block")
        args, kwargs = known.enter(run, False, *self._args, **self._kwargs)
        return known.leave(run, known.forward(run, self._blocks, 0, *args, **kwargs))

    def _time_hooks(self, runs: Flags) -> float:
        with ExitStack() as stack:
            for index, component in enumerate(self._list.components):
                if not runs[index]:
                    module = self._blocks[0].get_submodule(component.name)
                    output = self._outputs[index]
                    stack.enter_context(
                        patch.object(module, "forward", lambda *_, output=output, **__: output)
                    )
            with recorded() as recorder:
                self._blocks[0](*self._args, **self._kwargs)
        kernels: Kernels = recorder.kernels
        return kernels.eager_s(self._device)

    def _time_shared(self) -> None:
        none, every = (False,) * self._width, (True,) * self._width

        def timed(shared: dict[str, Any]) -> float:
            return self._time(lambda: self._forward(self._run(none, every, shared, self._kept)))

        first = timed({})
        second = timed(self._shared)
        joined = self._shared.get("joined")
        if joined is not None:  # a block before this one has left its result in one piece
            after = {"hidden_states": joined.image, "encoder_hidden_states": joined.text}
            self._kwargs = {**self._kwargs, **after}
        third = timed(dict(self._shared))
        self.shared_s, self.kept_s = second - third, first - second
