from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    pixels = torch.full((rows, 2), 32.0 * size)
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
        "original_size": pixels,
        "target_size": pixels,
        "crop_coords": torch.zeros(rows, 2),
    }


_CONFIG: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 4,
    "num_attention_heads": 4,
    "text_embed_dim": 12,
    "time_embed_dim": 8,
    "condition_dim": 4,
    "pos_embed_max_size": 16,
    "sample_size": 8,
}

MODELS = (TinyTransformer("CogView4Transformer2DModel", _CONFIG, _inputs),)
