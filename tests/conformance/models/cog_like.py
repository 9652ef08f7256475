"""Models with CogVideoX's blocks."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _cogview(rows: int, size: int, step: int) -> dict[str, Any]:
    pixels = torch.tensor([[32.0 * size, 32.0 * size]]).expand(rows, 2)
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
        "original_size": pixels,
        "target_size": pixels,
        "crop_coords": torch.zeros(rows, 2),
    }


def _consisid(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 2, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
    }


_CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "text_embed_dim": 12,
    "time_embed_dim": 8,
}

MODELS = (
    TinyTransformer(
        "CogView3PlusTransformer2DModel",
        {**_CONFIG, "condition_dim": 4, "pos_embed_max_size": 16, "sample_size": 8},
        _cogview,
    ),
    TinyTransformer(
        "ConsisIDTransformer3DModel",
        {
            **_CONFIG,
            "sample_width": 4,
            "sample_height": 4,
            "sample_frames": 5,
            "max_text_seq_length": 5,
        },
        _consisid,
    ),
)
