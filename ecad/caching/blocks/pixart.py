"""PixArt's block: diffusers' BasicTransformerBlock with adaLN-single."""

from __future__ import annotations

from typing import Any

import torch

from ecad.caching.block_run import TWICE, BlockRun, add_gated
from ecad.caching.blocks import KnownBlock
from ecad.errors import ScheduleError

ATTN1, ATTN2, FF = range(3)


def forward(
    run: BlockRun,
    block: Any,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
    timestep: torch.Tensor | None = None,
    cross_attention_kwargs: dict[str, Any] | None = None,
    class_labels: torch.Tensor | None = None,
    added_cond_kwargs: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """As the block's own forward, of hidden states (rows, tokens, width)."""
    assert timestep is not None  # of adaLN-single, (rows, 6 x width)
    if block._chunk_size is not None:
        raise ScheduleError(TWICE.format("ff"))
    options = cross_attention_kwargs or {}
    modulation = block.scale_shift_table[None] + timestep.reshape(len(hidden_states), 6, -1)
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.chunk(6, dim=1)
    exact = run.is_complete

    if run.runs[ATTN1]:
        normed = block.norm1(hidden_states) * (1 + scale_msa) + shift_msa
        output = run.keep(
            ATTN1, block.attn1(normed, encoder_hidden_states=None, attention_mask=attention_mask, **options)
        )
    else:
        output = run.stored(ATTN1)
    # A block that computes everything does what diffusers does, to the last bit.
    hidden_states = gate_msa * output + hidden_states if exact else add_gated(hidden_states, gate_msa, output)

    if run.runs[ATTN2]:
        output = block.attn2(
            hidden_states,
            encoder_hidden_states=encoder_hidden_states,
            attention_mask=encoder_attention_mask,
            **options,
        )
        hidden_states = run.keep(ATTN2, output) + hidden_states
    else:
        hidden_states = run.stored(ATTN2) + hidden_states

    if run.runs[FF]:
        normed = block.norm2(hidden_states) * (1 + scale_mlp) + shift_mlp
        output = run.keep(FF, block.ff(normed))
    else:
        output = run.stored(FF)
    return gate_mlp * output + hidden_states if exact else add_gated(hidden_states, gate_mlp, output)


def _fits(block: Any) -> bool:
    return (
        block.norm_type == "ada_norm_single"
        and block.attn2 is not None
        and block.pos_embed is None
        and not block.only_cross_attention
        and not hasattr(block, "fuser")
    )


KNOWN = (
    KnownBlock(
        "diffusers.models.attention",
        "BasicTransformerBlock",
        frozenset({"b70d124dbd9dcbba"}),
        ("attn1", "attn2", "ff"),
        forward,
        _fits,
    ),
)
