from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = (2 * size) ** 2
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "prior_token_id": torch.arange(rows * tokens).reshape(rows, tokens) % 16,
        "prior_token_drop": torch.zeros(rows, tokens, dtype=torch.bool),
        "timestep": timestep_of(step, rows),
        "target_size": torch.full((rows, 2), 32.0 * size),
        "crop_coords": torch.zeros(rows, 2),
    }


_CONFIG: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "text_embed_dim": 12,
    "time_embed_dim": 8,
    "condition_dim": 4,
    "prior_vq_quantizer_codebook_size": 16,
}

MODELS = (TinyTransformer("GlmImageTransformer2DModel", _CONFIG, _inputs),)
