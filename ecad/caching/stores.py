"""Where stored outputs are kept: as they are, in bfloat16, or in the host's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ecad.caching.modules import Key
from ecad.errors import ScheduleError

Slot = Key | tuple[str, int, int, int]  # of an output: its component's first call, or call number 1, 2, ...

HALF, HOST = "bfloat16", "cpu"
STORES = (HALF, HOST)


def new_store(kind: str | None) -> dict[Slot, Any]:
    """An empty one. ScheduleError for a kind that is not known."""
    if kind is None:
        return {}
    if kind == HALF:
        return HalfStore()
    if kind == HOST:
        return HostStore()
    raise ScheduleError(f"store must be one of {', '.join(STORES)} (or None, as they are), not {kind!r}")


class _PackingStore(dict[Slot, Any]):
    """A dictionary of outputs (tensors, or tuples of them) that holds each in another form."""

    def __setitem__(self, key: Slot, output: Any) -> None:
        super().__setitem__(key, tree_map(self._packed, output))

    def __getitem__(self, key: Slot) -> Any:
        return tree_map(self._unpacked, super().__getitem__(key))

    def get(self, key: Slot, default: Any = None) -> Any:
        return default if super().get(key) is None else self[key]

    def pop(self, key: Slot, *default: Any) -> Any:
        if key not in self:
            return super().pop(key, *default)
        output = self[key]
        super().pop(key)
        return output

    def _packed(self, value: Any) -> Any:
        raise NotImplementedError

    def _unpacked(self, value: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class _Packed:
    tensor: torch.Tensor
    dtype: torch.dtype
    device: torch.device


class HalfStore(_PackingStore):
    """Outputs in float32 take half the memory, and come back rounded to bfloat16's eight bits; others stay."""

    def _packed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        return _Packed(value.to(torch.bfloat16), value.dtype, value.device)

    def _unpacked(self, value: Any) -> Any:
        return value.tensor.to(value.dtype) if isinstance(value, _Packed) else value


class HostStore(_PackingStore):
    """Outputs wait in the host's memory, bit for bit. On a GPU they come back on a stream of their own (`prefetch`).

    The way there is on the current stream, so that an output's memory is free again only when the copy is made.
    """

    def __init__(self) -> None:
        super().__init__()
        self._coming: dict[
            Slot, tuple[Any, Any]
        ] = {}  # outputs under way, and the event after which they are there

    def prefetch(self, keys: Iterable[Slot]) -> None:
        """Begin to fetch these outputs, those that there are."""
        for key in keys:
            packed = dict.get(self, key)
            tensors = [each for each in _leaves(packed) if each.device.type == "cuda"]
            if not tensors or key in self._coming:
                continue
            stream = _stream_of(tensors[0].device)
            stream.wait_stream(torch.cuda.current_stream(tensors[0].device))
            with torch.cuda.stream(stream):
                output = tree_map(self._fetched, packed)
                self._coming[key] = output, stream.record_event()

    def __setitem__(self, key: Slot, output: Any) -> None:
        self._coming.pop(key, None)
        super().__setitem__(key, output)

    def __getitem__(self, key: Slot) -> Any:
        if key not in self._coming:
            return super().__getitem__(key)
        output, event = self._coming.pop(key)
        tree_map(_on_current_stream(event), output)
        return output

    def pop(self, key: Slot, *default: Any) -> Any:
        output = super().pop(key, *default)
        self._coming.pop(key, None)
        return output

    def clear(self) -> None:
        self._coming.clear()
        super().clear()

    def _packed(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.device.type in ("cpu", "meta"):
            return value
        is_cuda = value.device.type == "cuda"
        there = torch.empty_like(value, device="cpu", pin_memory=is_cuda)
        return _Packed(there.copy_(value, non_blocking=is_cuda), value.dtype, value.device)

    def _unpacked(self, value: Any) -> Any:
        return self._fetched(value)

    @staticmethod
    def _fetched(value: Any) -> Any:
        return value.tensor.to(value.device, non_blocking=True) if isinstance(value, _Packed) else value


_STREAMS: dict[torch.device, Any] = {}


def _stream_of(device: torch.device) -> Any:
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
    return _STREAMS[device]


def _on_current_stream(event: Any) -> Callable[[Any], Any]:
    def wait(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.device.type == "cuda":
            stream = torch.cuda.current_stream(value.device)
            stream.wait_event(event)
            value.record_stream(stream)
        return value

    return wait


def _leaves(packed: Any) -> list[_Packed]:
    values = packed if isinstance(packed, (tuple, list)) else [packed]
    return [value for value in values if isinstance(value, _Packed)]
