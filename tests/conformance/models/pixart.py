"""PixArt."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


MODELS = (
    TinyTransformer(
        "PixArtTransformer2DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 3,
            "cross_attention_dim": 16,
            "caption_channels": 12,
            "sample_size": 8,
            "patch_size": 2,
            "use_additional_conditions": False,
        },
        _inputs,
    ),
)
