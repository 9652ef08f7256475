"""The kernels that PyTorch code launches, seen on the meta device: their arithmetic and what they move.

In eager mode every operation is a kernel. Compiled, what lies between two matrix products (or attentions) is one: an
operation joins its neighbour if as many products lie on the longest way to either. Such a kernel reads what comes from
outside and writes what is used outside. That is how inductor fuses pointwise operations and norms, but for what it
might leave apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ecad.measuring.paper.devices import ATTENTION_SHARE, PaperDevice

# Operations that move nothing.
_VIEWS = frozenset(
    """
    view _unsafe_view reshape _reshape_alias t transpose permute expand slice select unsqueeze squeeze split chunk
    split_with_sizes unbind as_strided alias detach lift_fresh empty empty_like empty_strided new_empty
    """.split()  # noqa: SIM905
)
_Part = tuple[int, int, int]  # what is read or written: a value, and where in it how many numbers


@dataclass
class _Operation:
    reads: dict[_Part, int]  # bytes
    writes: dict[int, int]
    flops: float
    is_product: bool
    share: float = 1.0  # of the peak that its arithmetic can reach
    depth: int = 0  # products on the longest way to its result


@dataclass
class Kernels:
    """All operations of some code, in order."""

    operations: list[_Operation] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)  # values that are used by other code

    def part(self, numbers: range) -> Kernels:
        """Some of the operations alone; what others read is kept."""
        others = {
            value
            for number, operation in enumerate(self.operations)
            if number not in numbers
            for value, _, _ in operation.reads
        }
        return Kernels([replace(self.operations[number]) for number in numbers], self.kept | others)

    @property
    def flops(self) -> float:
        return sum(operation.flops for operation in self.operations)

    def eager_s(self, device: PaperDevice) -> float:
        """Seconds with a kernel for each operation."""
        return sum(
            device.seconds(each.flops / each.share, sum(each.reads.values()) + sum(each.writes.values()))
            for each in self.operations
        )

    def fused_s(self, device: PaperDevice) -> float:
        """Seconds with a kernel for each product, and one for all that is connected between products."""
        producer = {value: number for number, each in enumerate(self.operations) for value in each.writes}
        group = self._groups(producer)
        used_by: dict[int, set[int]] = {}
        for number, operation in enumerate(self.operations):
            for value, _, _ in operation.reads:
                used_by.setdefault(value, set()).add(group[number])
        members_of: dict[int, list[_Operation]] = {}
        for number, operation in enumerate(self.operations):
            members_of.setdefault(group[number], []).append(operation)
        seconds = 0.0
        for name, members in members_of.items():
            reads = {
                part: size
                for each in members
                for part, size in each.reads.items()
                if part[0] not in producer or group[producer[part[0]]] != name
            }
            writes = {
                value: size
                for each in members
                for value, size in each.writes.items()
                if value in self.kept or used_by.get(value, set()) - {name}
            }
            flops = sum(each.flops / each.share for each in members)
            seconds += device.seconds(flops, sum(reads.values()) + sum(writes.values()))
        return seconds

    def _groups(self, producer: dict[int, int]) -> list[int]:
        """For each operation, the kernel that it is part of."""
        group = list(range(len(self.operations)))

        def find(number: int) -> int:
            while group[number] != number:
                group[number] = group[group[number]]
                number = group[number]
            return number

        for number, operation in enumerate(self.operations):
            makers = [producer[value] for value, _, _ in operation.reads if value in producer]
            makers = [maker for maker in makers if maker < number]
            operation.depth = max((self.operations[maker].depth for maker in makers), default=0)
            if operation.is_product:
                operation.depth += 1
                continue
            for maker in makers:
                other = self.operations[maker]
                if not other.is_product and other.depth == operation.depth:
                    group[find(maker)] = find(number)
        return [find(number) for number in range(len(group))]


class Recorder(TorchDispatchMode):
    """Sees the operations of the code that runs while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = Kernels()
        self._values: dict[int, int] = {}  # storage -> the newest value in it
        self._alive: list[torch.Tensor] = []  # so that no storage is used twice
        self._count = 0

    def _part_of(self, tensor: torch.Tensor) -> _Part:
        storage = tensor.untyped_storage()._cdata
        if storage not in self._values:
            self._new(tensor)
        return self._values[storage], int(tensor.storage_offset()), tensor.numel()

    def _new(self, tensor: torch.Tensor) -> int:
        self._count += 1
        self._alive.append(tensor)
        self._values[tensor.untyped_storage()._cdata] = self._count
        return self._count

    def keep(self, results: Any) -> None:
        """Note that these are used by other code, so that they are written."""
        self.kernels.kept.update(self._part_of(each)[0] for each in _tensors(results))

    def add(self, reads: Any, writes: Any, flops: float, is_product: bool, share: float = 1.0) -> None:
        read = {self._part_of(each): _bytes(each) for each in _tensors(reads)}
        written = {self._new(each): _bytes(each) for each in _tensors(writes)}
        self.kernels.operations.append(_Operation(read, written, flops, is_product, share))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function._schema.name.split("::")[1] not in _VIEWS:
            packet = function._overloadpacket
            counts = flop_registry.get(packet)
            flops = 0.0 if counts is None else float(counts(*args, **kwargs, out_val=result))
            self.add((args, kwargs), result, flops, counts is not None)
        return result


@contextmanager
def recorded() -> Iterator[Recorder]:
    """The kernels that run inside, on the meta device; attention counts as one fused kernel."""
    recorder = Recorder()

    def attention(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
    ) -> torch.Tensor:
        result = torch.empty_like(query)
        batch, heads, rows, width = query.shape
        flops = 4.0 * batch * heads * rows * key.shape[2] * width
        recorder.add((query, key, value), result, flops, True, ATTENTION_SHARE)
        return result

    with (
        torch.no_grad(),
        torch.device("meta"),
        patch.object(torch.nn.functional, "scaled_dot_product_attention", attention),
        recorder,
    ):
        yield recorder


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
