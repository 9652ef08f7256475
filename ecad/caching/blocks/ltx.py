"""LTX-Video's block: self-attention, cross-attention and feed-forward, gated as in adaLN-single."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ecad.caching.block_run import BlockRun
from ecad.caching.blocks import KnownBlock, Summing
from ecad.caching.sums import Call, Sums

ATTN1, ATTN2, FF = range(3)


def forward(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
    image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """As the block's own forward, of hidden states (rows, tokens, width); `temb` is (rows, 1 or tokens, 6 x width)."""
    block = blocks[number]
    modulation = block.scale_shift_table[None, None].to(temb.device) + _by_vector(temb)
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.unbind(dim=2)

    if run.runs[ATTN1]:
        normed = block.norm1(hidden_states) * (1 + scale_msa) + shift_msa
        output = block.attn1(
            hidden_states=normed, encoder_hidden_states=None, image_rotary_emb=image_rotary_emb
        )
        run.keep(ATTN1, output)
    else:
        output = run.stored(ATTN1)
    hidden_states = hidden_states + output * gate_msa

    if run.runs[ATTN2]:
        output = block.attn2(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            image_rotary_emb=None,
            attention_mask=encoder_attention_mask,
        )
        run.keep(ATTN2, output)
    else:
        output = run.stored(ATTN2)
    hidden_states = hidden_states + output

    if run.runs[FF]:
        normed = block.norm2(hidden_states) * (1 + scale_mlp) + shift_mlp
        output = run.keep(FF, block.ff(normed))
    else:
        output = run.stored(FF)
    return hidden_states + output * gate_mlp


def from_sums(
    sums: Sums,
    call: Call,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
    *_: Any,
    **__: Any,
) -> torch.Tensor:
    """What the first block of a stretch that is read as sums returns; the arguments are those of its forward."""
    modulation = _by_vector(temb).unbind(dim=2)
    return sums.added_to(hidden_states, modulation[2], modulation[5], call)


def feed(run: BlockRun, call: Call, block: Any, together: int = 1) -> None:
    """Add the block's new outputs to the sums that they go into, those of so many blocks at once."""
    table = block.scale_shift_table
    for sums, components in run.feeds:
        outputs = [run.outputs[each] if each in components else None for each in (ATTN1, ATTN2, FF)]
        sums.add((outputs[ATTN1], outputs[ATTN2], outputs[FF]), (table[2], table[5]), call, together)


def _by_vector(temb: torch.Tensor) -> torch.Tensor:
    """(rows, 1 or tokens, 6, width)"""
    return temb.reshape(len(temb), temb.size(1), 6, -1)


KNOWN = (
    KnownBlock(
        "diffusers.models.transformers.transformer_ltx",
        "LTXVideoTransformerBlock",
        frozenset({"bc8351ef0c0aca6e"}),
        ("attn1", "attn2", "ff"),
        forward,
        summing=Summing(from_sums, feed),
    ),
)
