"""FLUX's blocks: double-stream and single-stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecad.caching.block_run import BlockRun, add_gated, modulated
from ecad.caching.blocks import KnownBlock

ATTN, FF, FF_CONTEXT = range(3)
SINGLE_ATTN, PROJ_MLP, PROJ_OUT = range(3)


def double_stream(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    temb: torch.Tensor,
    image_rotary_emb: Any = None,
    joint_attention_kwargs: dict[str, Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As the block's own forward, of image and text tokens (rows, tokens, width)."""
    block, runs, exact = blocks[number], run.runs, run.is_complete
    if runs[ATTN]:
        normed, gate_msa, shift_mlp, scale_mlp, gate_mlp = block.norm1(hidden_states, emb=temb)
        context_normed, c_gate_msa, c_shift_mlp, c_scale_mlp, c_gate_mlp = block.norm1_context(
            encoder_hidden_states, emb=temb
        )
        outputs = run.keep(
            ATTN,
            block.attn(
                hidden_states=normed,
                encoder_hidden_states=context_normed,
                image_rotary_emb=image_rotary_emb,
                **(joint_attention_kwargs or {}),
            ),
        )
    else:
        gate_msa, shift_mlp, scale_mlp, gate_mlp = _modulation(
            run, block.norm1, temb, 6, first=2, all_of=runs[FF]
        )
        c_gate_msa, c_shift_mlp, c_scale_mlp, c_gate_mlp = _modulation(
            run, block.norm1_context, temb, 6, first=2, all_of=runs[FF_CONTEXT]
        )
        outputs = run.stored(ATTN)

    hidden_states = _added(hidden_states, gate_msa.unsqueeze(1), outputs[0], exact)
    if runs[FF]:
        normed = modulated(block.norm2(hidden_states), 1 + scale_mlp[:, None], shift_mlp[:, None], exact)
        output = run.keep(FF, block.ff(normed))
    else:
        output = run.stored(FF)
    hidden_states = _added(hidden_states, gate_mlp.unsqueeze(1), output, exact)
    if len(outputs) == 3:  # with an IP-Adapter
        hidden_states = hidden_states + outputs[2]

    encoder_hidden_states = _added(encoder_hidden_states, c_gate_msa.unsqueeze(1), outputs[1], exact)
    if runs[FF_CONTEXT]:
        context_normed = modulated(
            block.norm2_context(encoder_hidden_states), 1 + c_scale_mlp[:, None], c_shift_mlp[:, None], exact
        )
        output = run.keep(FF_CONTEXT, block.ff_context(context_normed))
    else:
        output = run.stored(FF_CONTEXT)
    encoder_hidden_states = _added(encoder_hidden_states, c_gate_mlp.unsqueeze(1), output, exact)
    return _clipped(encoder_hidden_states), hidden_states


def single_stream(
    run: BlockRun,
    blocks: Sequence[Any],
    number: int,
    residual: torch.Tensor,
    temb: torch.Tensor,
    image_rotary_emb: Any = None,
    joint_attention_kwargs: dict[str, Any] | None = None,
) -> torch.Tensor:
    """As the block's own forward, of text and image tokens behind each other (rows, tokens, width)."""
    block, runs = blocks[number], run.runs
    if runs[SINGLE_ATTN] or runs[PROJ_MLP]:
        normed, gate = block.norm(residual, emb=temb)
    else:
        [gate] = _modulation(run, block.norm, temb, 3, first=2, all_of=False)
    mlp: Any = None  # unless proj_out reads it, as it does the other
    attention: Any = None
    if runs[PROJ_MLP]:
        mlp = run.keep(PROJ_MLP, block.proj_mlp(normed))
    elif run.reads[PROJ_MLP]:
        mlp = run.stored(PROJ_MLP)
    if runs[SINGLE_ATTN]:
        attention = run.keep(
            SINGLE_ATTN,
            block.attn(
                hidden_states=normed, image_rotary_emb=image_rotary_emb, **(joint_attention_kwargs or {})
            ),
        )
    elif run.reads[SINGLE_ATTN]:
        attention = run.stored(SINGLE_ATTN)
    if runs[PROJ_OUT]:
        output = run.keep(PROJ_OUT, block.proj_out(torch.cat([attention, block.act_mlp(mlp)], dim=2)))
    else:
        output = run.stored(PROJ_OUT)
    return _clipped(_added(residual, gate.unsqueeze(1), output, run.is_complete))


@dataclass
class _Joined:
    """What a single-stream block has computed, and the two parts of it that it returned."""

    states: torch.Tensor
    text: torch.Tensor
    image: torch.Tensor


def _join(
    run: BlockRun,
    is_compiled: bool,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Text and image behind each other, which they still are if the block before has returned just these two."""
    before = run.shared.get("joined")
    if before is None or before.text is not encoder_hidden_states or before.image is not hidden_states:
        joined = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        before = _Joined(joined, encoder_hidden_states, hidden_states)
    run.shared["joined"] = before
    return (before.states, *args), kwargs


def _part(run: BlockRun, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    text_tokens = run.shared["joined"].text.shape[1]
    now = run.shared["joined"] = _Joined(states, states[:, :text_tokens], states[:, text_tokens:])
    return now.text, now.image


def _modulation(
    run: BlockRun, norm: Any, temb: torch.Tensor, parts: int, *, first: int, all_of: bool
) -> tuple[torch.Tensor, ...]:
    """Parts of the modulation from number `first` on; the gates alone (first and last of them) unless `all_of`.

    Only the rows of the layer that they need are computed, where it is a plain linear layer.
    """
    linear = norm.linear
    if type(norm.silu) is nn.SiLU and not run.is_alone:  # the same in all blocks
        if run.shared.get("temb") is not temb:
            run.shared.update(temb=temb, embedding=norm.silu(temb))
        embedding = run.shared["embedding"]
    else:
        embedding = norm.silu(temb)
    if (
        type(linear) is not nn.Linear
        or linear._forward_hooks
        or linear._forward_pre_hooks
        or "forward" in vars(linear)
    ):
        return tuple(linear(embedding).chunk(parts, dim=1)[first:])
    width = linear.out_features // parts
    bias = linear.bias
    rows = slice(first * width, None)
    if all_of or parts - first == 1:
        found = nn.functional.linear(embedding, linear.weight[rows], None if bias is None else bias[rows])
        return tuple(found.chunk(parts - first, dim=1))
    gates = [
        nn.functional.linear(
            embedding,
            linear.weight[part * width : (part + 1) * width],
            None if bias is None else bias[part * width : (part + 1) * width],
        )
        for part in (first, parts - 1)
    ]
    return (gates[0], *[gates[0]] * (parts - first - 2), gates[1])


def _added(residual: torch.Tensor, gate: torch.Tensor, output: torch.Tensor, exact: bool) -> torch.Tensor:
    """A block that computes everything does what diffusers does, to the last bit."""
    return residual + gate * output if exact else add_gated(residual, gate, output)


def _clipped(states: torch.Tensor) -> torch.Tensor:
    return states.clip(-65504, 65504) if states.dtype == torch.float16 else states


_MODULE = "diffusers.models.transformers.transformer_flux"
KNOWN = (
    KnownBlock(
        _MODULE,
        "FluxTransformerBlock",
        frozenset({"85cd7ce98bb37cd7"}),
        ("attn", "ff", "ff_context"),
        double_stream,
    ),
    KnownBlock(
        _MODULE,
        "FluxSingleTransformerBlock",
        frozenset({"0b116839d642d3bd"}),
        ("attn", "proj_mlp", "proj_out"),
        single_stream,
        enter=_join,
        leave=_part,
    ),
)
