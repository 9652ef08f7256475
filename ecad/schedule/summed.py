"""Stretches of fully reused blocks in three tensors: where that pays, from the schedule alone.

In blocks whose gates are a table of the block plus an embedding that all share (adaLN-single: PixArt), what consecutive
reused blocks add to the hidden states is, with stored outputs A (self-attention), C (cross-attention) and F
(feed-forward) of block b, tables t and t' and shared embeddings e and e',

    sum_b (t_b + e) * A_b + C_b + (t'_b + e') * F_b  =  P + e * Q + e' * R
    P = sum_b (t_b * A_b + C_b + t'_b * F_b),   Q = sum_b A_b,   R = sum_b F_b

P, Q and R stay the same until one of these blocks computes something. They are made as the outputs come, so outputs
that only such stretches read are never kept one by one.

Where time counts, stretches are read as sums where that moves fewer bytes; where memory counts (`everywhere`), wherever
three sums are smaller than the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecad.arrays import BoolArray

# Bytes per number of the hidden states in 16 bits, sums in 32, kernel by kernel: a reused block reads and writes nine
# tensors a step; adding the three sums moves as much as eighteen; a block's way into the sums is five operations that
# read and write a sum each.
_BLOCK_A_STEP, _SUMS_A_STEP, _MAKING_A_BLOCK = 18, 36, 50

# So many blocks' outputs in 16 bits are as large as three sums in 32.
_BLOCKS_LIKE_SUMS = 2


@dataclass(frozen=True)
class Stretch:
    """Consecutive blocks `first` to `last` (included) of one list, all fully reused in the steps `reads`."""

    block_list: str
    first: int
    last: int
    reads: tuple[int, ...]

    @property
    def blocks(self) -> range:
        return range(self.first, self.last + 1)


def stretches(
    block_list: str, quiet: BoolArray, runs_output: BoolArray, everywhere: bool = False
) -> list[Stretch]:
    """The stretches that pay, most profitable first, none overlapping another.

    `quiet`, shape (steps, blocks): nothing of the block is computed in the step; `runs_output`, shape (steps,): the
    transformer runs in it. A block that stays quiet between two steps has the same outputs in both. With `everywhere` a
    stretch pays where it saves memory, however seldom it is read.
    """
    left = quiet & runs_output[:, None]
    chosen: list[Stretch] = []
    while True:
        gain, rectangle = _best_rectangle(left, quiet | ~runs_output[:, None], runs_output, everywhere)
        if gain <= 0:
            return chosen
        start, stop, first, last = rectangle
        reads = tuple(step for step in range(start, stop + 1) if runs_output[step])
        chosen.append(Stretch(block_list, first, last, reads))
        left[start : stop + 1, first : last + 1] = False


def _best_rectangle(
    left: BoolArray, unchanged: BoolArray, runs_output: BoolArray, everywhere: bool
) -> tuple[int, tuple[int, int, int, int]]:
    """(what it saves, (first step, last step, first block, last block)) of the most profitable one."""
    steps, blocks = left.shape
    best, found = 0, (0, 0, 0, 0)
    for start in range(steps):
        if not runs_output[start]:
            continue
        usable: npt.NDArray[np.bool_] = np.ones(blocks, dtype=np.bool_)
        reads = 0
        for stop in range(start, steps):
            if runs_output[stop]:
                usable = usable & left[stop]
                reads += 1
            usable = usable & unchanged[stop]
            if not usable.any():
                break
            first, last = _longest_run(usable)
            number = last - first + 1
            if everywhere:  # for how long so many blocks' outputs need not be held
                gain = (stop - start + 1) * (number - _BLOCKS_LIKE_SUMS)
            else:  # bytes that are not moved
                gain = reads * (_BLOCK_A_STEP * number - _SUMS_A_STEP) - _MAKING_A_BLOCK * number
            if runs_output[stop] and gain > best:
                best, found = gain, (start, stop, first, last)
    return best, found


def _longest_run(flags: BoolArray) -> tuple[int, int]:
    """(first, last) of the longest run of True, the first of equal ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest]) - 1
