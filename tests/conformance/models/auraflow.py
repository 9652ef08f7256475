"""AuraFlow."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows, 1.0),
    }


MODELS = (
    TinyTransformer(
        "AuraFlowTransformer2DModel",
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "caption_projection_dim": 16,
            "out_channels": 4,
            "pos_embed_max_size": 64,
        },
        _inputs,
    ),
)
