"""PixArt's block: diffusers' BasicTransformerBlock with adaLN-single."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ecad.caching.block_run import BlockRun, add_gated, modulated, too_often
from ecad.caching.blocks import KnownBlock, Summing
from ecad.caching.sums import Call, Sums
from ecad.errors import ScheduleError

ATTN1, ATTN2, FF = range(3)


def forward(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
    timestep: torch.Tensor = None,  # type: ignore[assignment]  # always there with adaLN-single: (rows, 6 x width)
    cross_attention_kwargs: dict[str, Any] | None = None,
    class_labels: torch.Tensor | None = None,
    added_cond_kwargs: dict[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """As the block's own forward, of hidden states (rows, tokens, width)."""
    block = blocks[number]
    if block._chunk_size is not None:
        raise ScheduleError(too_often("ff"))
    options = cross_attention_kwargs or {}
    embedding = timestep.reshape(len(hidden_states), 6, -1)
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = _modulation(
        run, blocks, number, embedding
    )
    exact = run.is_complete

    if run.runs[ATTN1]:
        normed = modulated(block.norm1(hidden_states), scale_msa, shift_msa, exact)
        output = block.attn1(normed, encoder_hidden_states=None, attention_mask=attention_mask, **options)
        run.keep(ATTN1, output)
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
        normed = modulated(block.norm2(hidden_states), scale_mlp, shift_mlp, exact)
        output = run.keep(FF, block.ff(normed))
    else:
        output = run.stored(FF)
    return gate_mlp * output + hidden_states if exact else add_gated(hidden_states, gate_mlp, output)


def _enter(
    run: BlockRun, is_compiled: bool, hidden_states: torch.Tensor, *args: Any, **kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # What the first block is given lies otherwise in memory: compiled code would have to be made twice.
    return (hidden_states.contiguous() if is_compiled else hidden_states, *args), kwargs


def from_sums(
    sums: Sums,
    call: Call,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    encoder_hidden_states: torch.Tensor | None = None,
    encoder_attention_mask: torch.Tensor | None = None,
    timestep: torch.Tensor = None,  # type: ignore[assignment]  # as above
    **_: Any,
) -> torch.Tensor:
    """What the first block of a stretch that is read as sums returns; the arguments are those of its forward."""
    embedding = timestep.reshape(len(hidden_states), 6, -1)
    return sums.added_to(hidden_states, embedding[:, 2:3], embedding[:, 5:6], call)


def feed(run: BlockRun, call: Call, block: Any, together: int = 1) -> None:
    """Add the block's new outputs to the sums that they go into, those of so many blocks at once."""
    table = block.scale_shift_table
    for sums, components in run.feeds:
        outputs = [run.outputs[each] if each in components else None for each in (ATTN1, ATTN2, FF)]
        sums.add((outputs[ATTN1], outputs[ATTN2], outputs[FF]), (table[2], table[5]), call, together)


def _modulation(
    run: BlockRun, blocks: Sequence[Any], number: int, embedding: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Shift, 1 + scale and gate of attention and of feed-forward, each (rows, 1, width).

    All blocks add the same embedding (rows, 6, width) to tables of their own: the first block of a forward does it for
    all at once, number for number as each would.
    """
    if run.is_alone:
        return _parts(blocks[number].scale_shift_table[None] + embedding)
    found = run.shared.get("pixart")
    if found is None:
        if "pixart" not in run.kept:
            tables = [block.scale_shift_table for block in blocks]
            is_spread = len({(table.device, table.dtype) for table in tables}) > 1  # over several devices
            run.kept["pixart"] = None if is_spread else torch.stack(tables)[:, None]
        if run.kept["pixart"] is None:
            return _parts(blocks[number].scale_shift_table[None] + embedding)
        everything = run.kept["pixart"] + embedding  # (blocks, rows, 6, width)
        scales = 1 + everything[:, :, 1::3]
        shift_msa, _, gate_msa, shift_mlp, _, gate_mlp = everything.split(1, dim=2)
        scale_msa, scale_mlp = scales.split(1, dim=2)
        parts = (shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp)
        # Taken apart once: that a block only has to pick its own is felt on a CPU.
        found = run.shared["pixart"] = tuple(part.unbind() for part in parts)
    return tuple(part[number] for part in found)


def _parts(modulation: torch.Tensor) -> tuple[torch.Tensor, ...]:
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.split(1, dim=1)
    return shift_msa, 1 + scale_msa, gate_msa, shift_mlp, 1 + scale_mlp, gate_mlp


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
        Summing(from_sums, feed),
        is_chained=True,
        enter=_enter,
    ),
)
