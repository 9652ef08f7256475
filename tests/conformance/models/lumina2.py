from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    mask = torch.ones(rows, 5, dtype=torch.bool)
    mask[rows // 2 :, 3:] = False  # texts of different lengths in a batch
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": mask,
        "timestep": torch.full((rows,), 0.1 + 0.2 * step),  # it rises
    }


_CONFIG: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "hidden_size": 24,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "num_attention_heads": 2,
    "num_kv_heads": 1,
    "multiple_of": 2,
    "axes_dim_rope": (4, 4, 4),
    "axes_lens": (16, 16, 16),
    "cap_feat_dim": 12,
}

MODELS = (
    TinyTransformer("Lumina2Transformer2DModel", _CONFIG, _inputs, without_timestep=("context_refiner",)),
)
