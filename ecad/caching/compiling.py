"""A schedule under `torch.compile`, however and whenever the model was compiled.

Which components run differs from step to step, so one graph of the whole transformer would be one per step. Instead the
code round the blocks runs as Python, and what a block computes for one pattern of recompute and reuse is compiled: the
pattern is a constant of that code, blocks of one class share it, and it has a cache of compiled graphs of its own.

How the user asked for compilation (`torch.compile(pipe.transformer)`, `.compile()`, `compile_repeated_blocks()`, before
or after `ecad.apply`, with whatever options) is not looked at. A call that is being compiled comes with the compiler
that is to take the frames below it, in torch's slot for one; we put it aside and hand it the blocks' patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial, wraps
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch._C._dynamo import eval_frame
from torch._dynamo.decorators import skip
from torch.utils._pytree import tree_leaves

from ecad.caching.block_run import BlockRun, copy_of
from ecad.caching.blocks import KnownBlock

# What takes the frames of Python functions below a compiled call: a callable, False (run what is compiled already), or
# None outside of one.
Compiler = Any


# Hidden states are read and written once for so many fully reused blocks behind each other, and so are sums for so many
# blocks whose outputs go into them.
BLOCKS_TOGETHER = 4


class TracedRun:
    """`BlockRun` while a block's code is traced: the same questions, answered from constants and arguments."""

    is_alone = True  # nothing is shared with the other blocks, whose code is in other graphs

    def __init__(self, runs: tuple[bool, ...], reads: tuple[bool, ...], stored: Sequence[Any]) -> None:
        self.runs = runs
        self.reads = reads
        self.outputs: dict[int, Any] = {}
        self._stored = stored

    @property
    def is_complete(self) -> bool:
        return all(self.runs)

    def stored(self, component: int) -> Any:
        return self._stored[component]

    def keep(self, component: int, output: Any) -> Any:
        self.outputs[component] = output
        return output


# The first gives the compiler that takes the frames below here, which from now on are left alone; the second takes it
# back. Not functions of Python: those would be compiled themselves. To be called in a frame that is `skip`ped.
set_aside = partial(eval_frame.set_eval_frame, None)
bring_back = eval_frame.set_eval_frame


class Compiling:
    """Takes calls of a transformer, its blocks and its components out of the compiler's hands, and gives parts back.

    Not for several threads at once, as the stored outputs are not.
    """

    def __init__(self) -> None:
        self._compiler: Compiler = None  # of the innermost call that was taken over
        self._owns = True  # whether what is compiled by it returns memory of its own
        self._calls = 0  # that were compiled
        self.has_compiled_parts = False  # modules inside of blocks are compiled for themselves

    @property
    def copies(self) -> bool:
        """Whether outputs must be copied before they are stored, as their memory may be written to again."""
        return self.has_compiled_parts or not self._owns

    @property
    def is_on(self) -> bool:
        return self._compiler is not None

    @property
    def reused_together(self) -> int:
        """How many fully reused blocks behind each other are one piece of code."""
        return BLOCKS_TOGETHER

    @property
    def summed_together(self) -> int:
        """Of how many blocks outputs are added up in one piece of code."""
        return BLOCKS_TOGETHER if self._compiler is not None and self._owns else 1

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)`, compiled if the call that it belongs to is."""
        if self._compiler is None:
            return function(*args, **kwargs)
        self._calls += 1
        before = eval_frame.set_eval_frame(self._compiler)
        try:  # no other function of Python may be called here: it would be compiled too
            return function(*args, **kwargs)
        finally:
            eval_frame.set_eval_frame(before)

    def call_and_own(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The same, of a function whose result may be stored."""
        return self.owned(self.call(function, *args, **kwargs))

    def call_in_place(self, function: Callable[..., Any], *args: Any) -> Any:
        """The same, of one that changes stored tensors: not in CUDA graphs, which want to own them."""
        if self._owns:
            return self.call(function, *args)
        return function(*args)

    def run_block(
        self, known: KnownBlock, run: BlockRun, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What the block returns, by the compiled code for its pattern; new outputs are noted in `run`."""
        stored = tuple(
            run.stored(component) if run.reads[component] and not runs else None
            for component, runs in enumerate(run.runs)
        )
        pattern = block_pattern(known, tuple(run.runs), tuple(run.reads))
        result, outputs = self.call(pattern, block, stored, args, kwargs)
        for component, output in outputs.items():
            run.keep(component, output)
        return result

    def run_chain(
        self,
        known: KnownBlock,
        runs: Sequence[BlockRun],
        blocks: Sequence[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """What fully reused blocks behind each other return, by one piece of compiled code."""
        width = len(runs[0].runs)
        stored = tuple(tuple(run.stored(component) for component in range(width)) for run in runs)
        return self.call(chain_pattern(known, width), tuple(blocks), stored, args, kwargs)

    def taken_over(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A module's forward that runs as Python, and whose `call`s are compiled if the module is."""

        @wraps(forward)
        def taken_over(*args: Any, **kwargs: Any) -> Any:
            compiler = eval_frame.set_eval_frame(None)
            if compiler is None:
                return forward(*args, **kwargs)
            outer = self._compiler
            self._use(compiler)
            calls = self._calls
            try:
                result = forward(*args, **kwargs)
                if self._calls == calls:
                    self._compile_something(result)
                return result
            finally:
                self._use(outer)
                eval_frame.set_eval_frame(compiler)

        return skip(taken_over)

    def given_back(self, module: nn.Module) -> list[Any]:
        """Let a module that a schedule has nothing to do with be compiled as it would be; returns torch's handles."""

        def before(*_: Any) -> None:
            if self._compiler is not None:
                self._calls += 1
                eval_frame.set_eval_frame(self._compiler)

        def after(*_: Any) -> None:
            if self._compiler is not None:
                eval_frame.set_eval_frame(None)

        return [
            module.register_forward_pre_hook(skip(before)),
            module.register_forward_hook(skip(after), always_call=True),
        ]

    def begin(self, compiler: Compiler) -> None:
        """Called when a forward of the transformer begins, with what `set_aside` gave."""
        self._use(compiler)
        self._calls = 0

    def end(self, output: Any) -> None:
        """Called with what a forward of the transformer returns."""
        if self._compiler is not None and self._calls == 0:
            self._compile_something(output)

    def finish(self) -> Compiler:
        """Called after each forward, also one that failed, for the compiler that is to be brought back."""
        compiler = self._compiler
        self._use(None)
        return compiler

    def owned(self, output: Any) -> Any:
        """An output in memory that is nobody else's."""
        return copy_of(output) if self.copies else output

    def _use(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._owns = compiler is None or _owns_its_outputs(compiler)

    def _compile_something(self, output: Any) -> None:
        """With `fullgraph=True` torch calls it an error if a call has nothing to compile, as a reused one has not."""
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and _must_find_a_frame(self._compiler):
                self.call(_first_number, tensor)
                return


@cache
def block_pattern(
    known: KnownBlock, runs: tuple[bool, ...], reads: tuple[bool, ...]
) -> Callable[..., tuple[Any, dict[int, Any]]]:
    """(block, stored outputs, arguments) -> what the block returns, and its new outputs by component."""
    forward = known.forward

    def pattern(
        block: Any, stored: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[int, Any]]:
        run = TracedRun(runs, reads, stored)
        result = forward(run, (block,), 0, *args, **kwargs)
        return result, run.outputs

    digits = "".join("1" if each else "0" for each in runs)
    return _with_own_cache(pattern, f"{known.class_name}_{digits}")


@cache
def chain_pattern(known: KnownBlock, width: int) -> Callable[..., Any]:
    """(blocks, stored outputs of each, arguments) -> what fully reused blocks behind each other return."""
    forward, none, every = known.forward, (False,) * width, (True,) * width

    def pattern(
        blocks: Sequence[Any], stored: Sequence[Sequence[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        states, rest = args[0], args[1:]
        for block, outputs in zip(blocks, stored, strict=True):
            states = forward(TracedRun(none, every, outputs), (block,), 0, states, *rest, **kwargs)
        return states

    return _with_own_cache(pattern, f"{known.class_name}_reused")


def _with_own_cache(function: Any, name: str) -> Any:
    """Torch keeps compiled graphs by code object, a few for each: give this function one that is not shared."""
    code = function.__code__.replace(co_name=name)
    return FunctionType(code, function.__globals__, name, function.__defaults__, function.__closure__)


def _owns_its_outputs(compiler: Compiler) -> bool:
    """Whether what compiled code returns stays as it is when the code runs again.

    Not so with CUDA graphs (`mode="reduce-overhead"`, the backend "cudagraphs"): they write to the same memory each
    time. Backends that are not known are taken to do likewise.
    """
    for backend in _layers(compiler):
        settings = getattr(backend, "get_compiler_config", None)
        if settings is not None:
            return not dict(settings() or {}).get("triton.cudagraphs", True)
        if getattr(backend, "__name__", None) in _KNOWN_TO_ALLOCATE:
            return True
    return False


_KNOWN_TO_ALLOCATE = frozenset({"eager", "eager_noexcept", "aot_eager", "aot_eager_decomp_partition"})


def _must_find_a_frame(compiler: Compiler) -> bool:
    return any(getattr(layer, "_one_graph", False) for layer in _layers(compiler))


def _first_number(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten()[:1] + 1


def _layers(compiler: Compiler) -> Iterator[Any]:
    """The compiler and what it wraps, down to the backend."""
    while compiler is not None:
        yield compiler
        # The second is its name in older versions of torch.
        inner = getattr(compiler, "_torchdynamo_orig_backend", None)
        compiler = getattr(compiler, "_torchdynamo_orig_callable", None) if inner is None else inner


__all__ = ["Compiler", "Compiling", "TracedRun", "block_pattern", "bring_back", "set_aside", "skip"]
