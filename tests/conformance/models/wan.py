"""Wan 2.1 and 2.2, text to video."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 2, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
    }


MODELS = (
    TinyTransformer(
        "WanTransformer3DModel",
        {
            "patch_size": (1, 2, 2),
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "in_channels": 4,
            "out_channels": 4,
            "text_dim": 12,
            "freq_dim": 32,
            "ffn_dim": 40,
            "num_layers": 3,
            "rope_max_seq_len": 16,
        },
        _inputs,
    ),
)
