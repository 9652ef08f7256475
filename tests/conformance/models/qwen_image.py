"""Qwen-Image, and its variant for editing, which modulates given pictures differently."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of
from diffusers import QwenImageTransformer2DModel

_READS_MASK = "zero_cond_t" in signature(QwenImageTransformer2DModel.__init__).parameters


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    side = 2 * size
    # Versions that do not find the lengths by the mask must be told.
    lengths = {} if _READS_MASK else {"txt_seq_lens": [5] * rows}
    return {
        **lengths,
        "hidden_states": noise(rows, side * side, 16, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_hidden_states_mask": torch.tensor([[1, 1, 1, 1, 0]] * rows),
        "timestep": timestep_of(step, rows, 1.0),
        "img_shapes": [[(1, side, side)]] * rows,
    }


def _edit_inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    """The picture, then the one that is to be edited."""
    side = 2 * size
    given = noise(rows, side * side, 16, seed=101)
    inputs = _inputs(rows, size, step)
    return {
        **inputs,
        "hidden_states": torch.cat([inputs["hidden_states"], given], dim=1),
        "img_shapes": [[(1, side, side), (1, side, side)]] * rows,
    }


_CONFIG: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "guidance_embeds": False,
    "axes_dims_rope": (8, 4, 4),
}

MODELS = (
    TinyTransformer("QwenImageTransformer2DModel", _CONFIG, _inputs),
    TinyTransformer(
        "QwenImageTransformer2DModel", {**_CONFIG, "zero_cond_t": True}, _edit_inputs, name="edit"
    ),
)
