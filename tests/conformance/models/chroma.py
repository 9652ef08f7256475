"""Chroma."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = 4 * size * size
    return {
        "hidden_states": noise(rows, tokens, 4, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows, 1.0),
        "txt_ids": torch.zeros(5, 3),
        "img_ids": torch.stack([torch.arange(tokens).float() % 3] * 3, dim=1),
        "attention_mask": torch.tensor([[1.0] * 4 + [0.0] + [1.0] * tokens] * rows),
    }


MODELS = (
    TinyTransformer(
        "ChromaTransformer2DModel",
        {
            "patch_size": 1,
            "in_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 6, 6),
            "approximator_num_channels": 8,
            "approximator_hidden_dim": 16,
            "approximator_layers": 1,
        },
        _inputs,
    ),
)
