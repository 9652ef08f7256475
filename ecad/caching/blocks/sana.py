"""Sana's block: linear self-attention, cross-attention, a feed-forward of convolutions; gated as in adaLN-single."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ecad.caching.block_run import BlockRun, add_gated, modulated
from ecad.caching.blocks import KnownBlock, Summing
from ecad.caching.sums import Call, Sums

ATTN1, ATTN2, FF = range(3)


def forward(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
    timestep: torch.Tensor = None,  # type: ignore[assignment]  # always there: (rows, 6 x width)
    height: int = 0,
    width: int = 0,
) -> torch.Tensor:
    """As the block's own forward, of hidden states (rows, tokens, channels); height and width are in tokens."""
    block = blocks[number]
    exact = run.is_complete
    modulation = block.scale_shift_table[None] + timestep.reshape(len(hidden_states), 6, -1)
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.chunk(6, dim=1)

    if run.runs[ATTN1]:
        normed = modulated(block.norm1(hidden_states), 1 + scale_msa, shift_msa, exact)
        output = run.keep(ATTN1, block.attn1(normed.to(hidden_states.dtype)))
    else:
        output = run.stored(ATTN1)
    # A block that computes everything does what diffusers does, to the last bit.
    hidden_states = hidden_states + gate_msa * output if exact else add_gated(hidden_states, gate_msa, output)

    if run.runs[ATTN2]:
        output = block.attn2(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=encoder_attention_mask,
        )
        run.keep(ATTN2, output)
    else:
        output = run.stored(ATTN2)
    hidden_states = output + hidden_states

    if run.runs[FF]:
        normed = modulated(block.norm2(hidden_states), 1 + scale_mlp, shift_mlp, exact)
        output = run.keep(FF, block.ff(normed.unflatten(1, (height, width)).permute(0, 3, 1, 2)))
    else:
        output = run.stored(FF)
    output = _tokens(output)
    return hidden_states + gate_mlp * output if exact else add_gated(hidden_states, gate_mlp, output)


def from_sums(
    sums: Sums,
    call: Call,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
    timestep: torch.Tensor = None,  # type: ignore[assignment]  # as above
    *_: Any,
    **__: Any,
) -> torch.Tensor:
    """What the first block of a stretch that is read as sums returns; the arguments are those of its forward."""
    embedding = timestep.reshape(len(hidden_states), 6, -1)
    return sums.added_to(hidden_states, embedding[:, 2:3], embedding[:, 5:6], call)


def feed(run: BlockRun, call: Call, block: Any, together: int = 1) -> None:
    """Add the block's new outputs to the sums that they go into, those of so many blocks at once."""
    table = block.scale_shift_table
    for sums, components in run.feeds:
        attn1, attn2, ff = (run.outputs[each] if each in components else None for each in (ATTN1, ATTN2, FF))
        outputs = (attn1, attn2, None if ff is None else _tokens(ff))
        sums.add(outputs, (table[2], table[5]), call, together)


def _tokens(images: torch.Tensor) -> torch.Tensor:
    """(rows, channels, height, width) -> (rows, tokens, channels)"""
    return images.flatten(2, 3).permute(0, 2, 1)


KNOWN = (
    KnownBlock(
        "diffusers.models.transformers.sana_transformer",
        "SanaTransformerBlock",
        frozenset({"e2bf467e42ef8c61"}),
        ("attn1", "attn2", "ff"),
        forward,
        summing=Summing(from_sums, feed),
    ),
)
