"""LTX-Video."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 2 * 2 * size * 2 * size, 4, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": torch.ones(rows, 5),
        "timestep": timestep_of(step, rows),
        "num_frames": 2,
        "height": 2 * size,
        "width": 2 * size,
    }


MODELS = (
    TinyTransformer(
        "LTXVideoTransformer3DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 16,
            "num_layers": 3,
            "caption_channels": 12,
        },
        _inputs,
    ),
)
