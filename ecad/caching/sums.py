"""What a stretch of reused blocks adds to the hidden states, in three tensors: `ecad.schedule.summed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ecad.errors import ScheduleError

# Calls a function with these arguments: as it is, or compiled.
Call = Callable[..., Any]

Three = tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]

Gates = tuple[torch.Tensor, torch.Tensor]


def direct(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class Sums:
    """P, Q and R of one stretch, in float32, each of an output's shape (rows, tokens, width).

    `expected` is the number of outputs that go in before it can be read.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._sums: Three = (None, None, None)
        self._waiting: list[tuple[Three, Gates]] = []  # outputs and gates of whole blocks

    @property
    def tensors(self) -> int:
        """Number of tensors that are held."""
        waiting = [each for outputs, _ in self._waiting for each in outputs]
        return sum(each is not None for each in (*self._sums, *waiting))

    def add(self, outputs: Three, gates: Gates, call: Call = direct, together: int = 1) -> None:
        """Outputs of one block: self-attention, cross-attention and feed-forward, None where none is new.

        `gates` are the block's tables (width,) of the gates of the first and the last; `call` calls what adds them up.
        Compiled, that is one pass over the sums for however many blocks: `together` waits for so many.
        """
        self._expected -= sum(each is not None for each in outputs)
        if together == 1 or any(each is None for each in outputs):
            self._sums = call(_added, self._sums, outputs, gates)
            return
        self._waiting.append((outputs, gates))
        if len(self._waiting) == together:
            waiting, self._waiting = tuple(self._waiting), []
            self._sums = call(_added_together, self._sums, waiting)

    def added_to(
        self,
        hidden_states: torch.Tensor,
        attention: torch.Tensor,
        feed_forward: torch.Tensor,
        call: Call = direct,
    ) -> torch.Tensor:
        """Hidden states behind the stretch, given the shared embeddings of both gates, each (rows, 1, width)."""
        for outputs, gates in self._waiting:
            self._sums = call(_added, self._sums, outputs, gates)
        self._waiting = []
        if self._expected or any(each is None for each in self._sums):
            raise ScheduleError(
                "a block of a reused stretch did not run when the schedule computes it (layers are skipped?): apply "
                "the schedule with summed_runs=False"
            )
        found: torch.Tensor = call(_read, hidden_states, self._sums, attention, feed_forward)
        return found


def _added_together(sums: Three, blocks: tuple[tuple[Three, Gates], ...]) -> Three:
    for outputs, gates in blocks:
        sums = _added(sums, outputs, gates)
    return sums


def _added(sums: Three, outputs: Three, gates: Gates) -> Three:
    """The sums with a block's outputs in them; they are changed in place."""
    plain, of_attention, of_feed_forward = sums
    attention, cross_attention, feed_forward = outputs
    attention_gate, feed_forward_gate = gates
    if attention is not None:
        plain = _plus_gated(plain, attention_gate, attention)
        of_attention = _plus(of_attention, attention)
    if cross_attention is not None:
        plain = _plus(plain, cross_attention)
    if feed_forward is not None:
        plain = _plus_gated(plain, feed_forward_gate, feed_forward)
        of_feed_forward = _plus(of_feed_forward, feed_forward)
    return plain, of_attention, of_feed_forward


def _read(
    hidden_states: torch.Tensor, sums: Any, attention: torch.Tensor, feed_forward: torch.Tensor
) -> torch.Tensor:
    plain, of_attention, of_feed_forward = sums
    # Types are mixed: what is in 16 bits is read as it is, and reckoned with in 32.
    total = torch.addcmul(plain, attention, of_attention)
    total.addcmul_(feed_forward, of_feed_forward)
    return hidden_states + total.to(hidden_states.dtype)


def _plus(so_far: torch.Tensor | None, output: torch.Tensor) -> torch.Tensor:
    return output.to(torch.float32, copy=True) if so_far is None else so_far.add_(output)


def _plus_gated(so_far: torch.Tensor | None, gate: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    return gate.float() * output if so_far is None else so_far.addcmul_(gate, output)
