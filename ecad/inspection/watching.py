"""One forward of a transformer, watched from outside: what runs how often, sees what, gives what, and who reads it."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from ecad.sampling.counting import flop_counter

Run = Callable[[], object]
Source = tuple[str, int, str]  # block list, block, component
Reader = Source | None  # None: somebody who is no component of a block
Shape = tuple[int, ...]


@dataclass
class Calls:
    """What was seen of one module in one forward of the transformer.

    `inputs` are names and shapes of the tensors that its first call was given, those that are the same tensor once;
    `outputs` the shapes of what that returned; `order` is which call of all it was.
    """

    number: int = 0
    flops: int = 0
    order: int = 0
    inputs: tuple[tuple[str, Shape], ...] = ()
    outputs: tuple[Shape, ...] = ()


@dataclass
class Watched:
    """All calls of one forward, by module; and what the transformer itself was given."""

    calls: dict[nn.Module, Calls] = field(default_factory=dict)
    inputs: tuple[tuple[str, Shape], ...] = ()

    def of(self, module: nn.Module) -> Calls:
        return self.calls.get(module, Calls())

    def ran(self, module: nn.Module) -> bool:
        return module in self.calls


def watch_calls(transformer: nn.Module, run: Run) -> Watched:
    """Which modules `run` calls in the first forward of the transformer."""
    watched = Watched()
    before: list[int] = []

    with ExitStack() as stack, flop_counter() as counter, torch.no_grad():
        first = _FirstForward(transformer, stack)

        def begin(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            watched.inputs = tuple(_named_shapes(transformer, args, kwargs)) or watched.inputs

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if first.is_on:
                before.append(counter.get_total_flops())
                calls = watched.calls.setdefault(module, Calls(order=len(watched.calls)))
                calls.number += 1
                calls.inputs = calls.inputs or tuple(_named_shapes(module, args, kwargs))

        def leave(module: nn.Module, _: Any, output: Any) -> None:
            if first.is_on and module in watched.calls and before:
                calls = watched.calls[module]
                calls.flops += counter.get_total_flops() - before.pop()
                calls.outputs = calls.outputs or tuple(tuple(each.shape) for each in tensors_in(output))

        stack.callback(transformer.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for module in transformer.modules():
            if module is not transformer:
                stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(leave).remove)
        run()
    return watched


def watch_readers(
    transformer: nn.Module,
    blocks: Mapping[tuple[str, int], nn.Module],
    components: Mapping[Source, nn.Module],
    run: Run,
) -> dict[Source, set[Reader]]:
    """Who reads what each component returned in the first forward, through whatever is done to it in between.

    What a block returns, and whatever becomes a number of Python's, is read by None.
    """
    tracking = _Tracking()
    depth = 0

    with ExitStack() as stack, torch.no_grad():
        first = _FirstForward(transformer, stack)

        def on_component(source: Source, module: nn.Module) -> None:
            def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                nonlocal depth
                if first.is_on and depth == 0:
                    tracking.read((args, kwargs), source)
                depth += 1
                tracking.is_on = False

            def leave(_: Any, __: Any, output: Any) -> None:
                nonlocal depth
                depth -= 1
                tracking.is_on = first.is_on and depth == 0
                if tracking.is_on:
                    tracking.mark(output, {source})

            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave).remove)

        def on_exit(_: Any, __: Any, output: Any) -> None:
            if first.is_on and depth == 0:
                tracking.read(output, None)

        for source, module in components.items():
            tracking.readers[source] = set()
            on_component(source, module)
        for block in blocks.values():
            stack.callback(block.register_forward_hook(on_exit).remove)
        stack.callback(transformer.register_forward_pre_hook(lambda *_: tracking.begin()).remove)
        stack.callback(transformer.register_forward_hook(on_exit, prepend=True).remove)
        with tracking:
            run()
    return tracking.readers


class _FirstForward:
    """`is_on` while the transformer's first forward runs."""

    def __init__(self, transformer: nn.Module, stack: ExitStack) -> None:
        self.is_on = False
        self._is_over = False
        stack.callback(transformer.register_forward_pre_hook(self._begin).remove)
        stack.callback(transformer.register_forward_hook(self._end).remove)

    def _begin(self, *_: Any) -> None:
        self.is_on = not self._is_over

    def _end(self, *_: Any) -> None:
        self.is_on, self._is_over = False, True


class _Tracking(TorchDispatchMode):
    """Notes of every memory which components' outputs have gone into it.

    By memory (a tensor's storage) and not by tensor, so views share it: this may name too many readers, never too few.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_on = False
        self.readers: dict[Source, set[Reader]] = defaultdict(set)
        # By address, which stays taken as long as the weak reference to the storage is held.
        self._sources: dict[int, tuple[StorageWeakRef, set[Source]]] = {}

    def begin(self) -> None:
        self.is_on = True

    def mark(self, values: Any, sources: set[Source]) -> None:
        for tensor in tensors_in(values):
            reference = StorageWeakRef(tensor.untyped_storage())
            known = self._sources.setdefault(reference.cdata, (reference, set()))
            known[1].update(sources)

    def read(self, values: Any, reader: Reader) -> None:
        for source in self._of(values):
            self.readers[source].add(reader)

    def _of(self, values: Any) -> set[Source]:
        found: set[Source] = set()
        for tensor in tensors_in(values):
            known = self._sources.get(tensor.untyped_storage()._cdata)
            if known is not None:
                found |= known[1]
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.is_on:
            sources = self._of((args, kwargs))
            if sources:
                self.mark(result, sources)
                if not any(True for _ in tensors_in(result)):
                    self.read((args, kwargs), None)
        return result


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """All tensors in arguments or a result, in order."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from tensors_in(value)
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif hasattr(values, "__dataclass_fields__"):
        for name in values.__dataclass_fields__:
            yield from tensors_in(getattr(values, name))


def _named_shapes(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Shape]]:
    """Names of a forward's parameters that were given tensors of numbers, with their shapes."""
    try:
        given = dict(inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments)
    except (TypeError, ValueError):
        given = {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    seen: set[int] = set()
    for name, value in given.items():
        if value is module:
            continue
        for tensor in tensors_in(value):
            if tensor.is_floating_point() and id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tuple(tensor.shape)
