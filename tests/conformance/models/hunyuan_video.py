"""HunyuanVideo, whose token refiner has an attn and an ff as well, which are no components."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 2, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": torch.tensor([[1.0] * 4 + [0.0]] * rows),
        "pooled_projections": noise(rows, 10, seed=101),
        "timestep": timestep_of(step, rows),
        "guidance": torch.full((rows,), 6000.0),
    }


MODELS = (
    TinyTransformer(
        "HunyuanVideoTransformer3DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "num_refiner_layers": 1,
            "mlp_ratio": 3.0,
            "patch_size": 2,
            "patch_size_t": 1,
            "guidance_embeds": True,
            "text_embed_dim": 12,
            "pooled_projection_dim": 10,
            "rope_axes_dim": (4, 6, 6),
        },
        _inputs,
    ),
)
