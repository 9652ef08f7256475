"""Sana, and Sana-Sprint with its embedded guidance and norms of queries and keys."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": (torch.arange(5) < 4).long().repeat(rows, 1),
        "timestep": timestep_of(step, rows),
    }


def _sprint_inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {**_inputs(rows, size, step), "guidance": torch.full((rows,), 0.45)}


_CONFIG: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 3,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 6,
    "cross_attention_dim": 16,
    "caption_channels": 12,
    "mlp_ratio": 2.5,
    "sample_size": 4,
    "patch_size": 1,
}

MODELS = (
    TinyTransformer("SanaTransformer2DModel", _CONFIG, _inputs),
    TinyTransformer(
        "SanaTransformer2DModel",
        {**_CONFIG, "qk_norm": "rms_norm_across_heads", "guidance_embeds": True, "patch_size": 2},
        _sprint_inputs,
        name="sprint",
    ),
)
