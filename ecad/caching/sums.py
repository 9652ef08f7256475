"""What a stretch of reused blocks adds to the hidden states, in three tensors: `ecad.schedule.summed`."""

from __future__ import annotations

import torch

from ecad.errors import ScheduleError


class Sums:
    """P, Q and R of one stretch, in float32, each of an output's shape (rows, tokens, width).

    `expected` is the number of outputs that go in before it can be read.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._plain: torch.Tensor | None = None  # P
        self._attention: torch.Tensor | None = None  # Q
        self._feed_forward: torch.Tensor | None = None  # R

    @property
    def tensors(self) -> int:
        """Number of tensors that are held."""
        return sum(each is not None for each in (self._plain, self._attention, self._feed_forward))

    def add_attention(self, output: torch.Tensor, table: torch.Tensor) -> None:
        """A block's self-attention output, and its gate's table (width,)."""
        self._add_plain(output, table)
        self._attention = _sum(self._attention, output)

    def add_cross_attention(self, output: torch.Tensor) -> None:
        self._add_plain(output, None)

    def add_feed_forward(self, output: torch.Tensor, table: torch.Tensor) -> None:
        self._add_plain(output, table)
        self._feed_forward = _sum(self._feed_forward, output)

    def added_to(
        self, hidden_states: torch.Tensor, attention: torch.Tensor, feed_forward: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states behind the stretch, given the shared embeddings of both gates, each (rows, 1, width)."""
        if self._expected or self._plain is None or self._attention is None or self._feed_forward is None:
            raise ScheduleError(
                "a block of a reused stretch did not run when the schedule computes it (layers are skipped?): apply "
                "the schedule with summed_runs=False"
            )
        total = torch.addcmul(self._plain, attention.float(), self._attention)
        total.addcmul_(feed_forward.float(), self._feed_forward)
        return hidden_states + total.to(hidden_states.dtype)

    def _add_plain(self, output: torch.Tensor, table: torch.Tensor | None) -> None:
        self._expected -= 1
        if table is None:
            self._plain = _sum(self._plain, output)
        elif self._plain is None:
            self._plain = table.float() * output
        else:
            self._plain.addcmul_(table.float(), output.float())


def _sum(so_far: torch.Tensor | None, output: torch.Tensor) -> torch.Tensor:
    return output.to(torch.float32, copy=True) if so_far is None else so_far.add_(output)
