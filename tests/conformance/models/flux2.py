"""FLUX.2, whose modulations all blocks share."""

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
        "guidance": torch.full((rows,), 4.0),
        "txt_ids": torch.stack([torch.arange(5).float()] * 4, dim=1),
        "img_ids": torch.stack([torch.arange(tokens).float() % 3] * 4, dim=1),
    }


MODELS = (
    TinyTransformer(
        "Flux2Transformer2DModel",
        {
            "patch_size": 1,
            "in_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 4, 4, 4),
        },
        _inputs,
    ),
)
