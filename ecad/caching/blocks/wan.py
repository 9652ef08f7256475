"""Wan's block: self-attention, cross-attention and feed-forward, gated as in adaLN-single."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ecad.caching.block_run import BlockRun
from ecad.caching.blocks import KnownBlock, Summing
from ecad.caching.sums import Call, Sums

ATTN1, ATTN2, FFN = range(3)


def forward(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
    rotary_emb: torch.Tensor,
) -> torch.Tensor:
    """As the block's own forward, of hidden states (rows, tokens, width); `temb` is (rows, 6, width), in Wan 2.2 TI2V
    (rows, tokens, 6, width)."""
    block = blocks[number]
    table = block.scale_shift_table
    modulation = (table if temb.ndim == 3 else table[None]) + temb.float()
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = _parts(modulation)

    if run.runs[ATTN1]:
        normed = block.norm1(hidden_states.float()) * (1 + scale_msa) + shift_msa
        output = run.keep(ATTN1, block.attn1(normed.type_as(hidden_states), None, None, rotary_emb))
    else:
        output = run.stored(ATTN1)
    hidden_states = (hidden_states.float() + output * gate_msa).type_as(hidden_states)

    if run.runs[ATTN2]:
        normed = block.norm2(hidden_states.float()).type_as(hidden_states)
        output = run.keep(ATTN2, block.attn2(normed, encoder_hidden_states, None, None))
    else:
        output = run.stored(ATTN2)
    hidden_states = hidden_states + output

    if run.runs[FFN]:
        normed = block.norm3(hidden_states.float()) * (1 + scale_mlp) + shift_mlp
        output = run.keep(FFN, block.ffn(normed.type_as(hidden_states)))
    else:
        output = run.stored(FFN)
    return (hidden_states.float() + output.float() * gate_mlp).type_as(hidden_states)


def from_sums(
    sums: Sums,
    call: Call,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
    *_: Any,
) -> torch.Tensor:
    """What the first block of a stretch that is read as sums returns; the arguments are those of its forward."""
    modulation = _parts(temb.float())
    return sums.added_to(hidden_states, modulation[2], modulation[5], call)


def feed(run: BlockRun, call: Call, block: Any, together: int = 1) -> None:
    """Add the block's new outputs to the sums that they go into, those of so many blocks at once."""
    table = block.scale_shift_table[0]
    for sums, components in run.feeds:
        outputs = [run.outputs[each] if each in components else None for each in (ATTN1, ATTN2, FFN)]
        sums.add((outputs[ATTN1], outputs[ATTN2], outputs[FFN]), (table[2], table[5]), call, together)


def _parts(modulation: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Its six vectors, each (rows, 1 or tokens, width)."""
    if modulation.ndim == 3:
        return modulation.chunk(6, dim=1)
    return modulation.unbind(dim=2)


KNOWN = (
    KnownBlock(
        "diffusers.models.transformers.transformer_wan",
        "WanTransformerBlock",
        frozenset({"1c5bb4dcb0c3699b"}),
        ("attn1", "attn2", "ffn"),
        forward,
        summing=Summing(from_sums, feed),
    ),
)
