"""DiT."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows),
        "class_labels": torch.arange(rows) + 3,
    }


MODELS = (
    TinyTransformer(
        "DiTTransformer2DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 3,
            "sample_size": 4,
            "patch_size": 2,
            "num_embeds_ada_norm": 10,
        },
        _inputs,
    ),
)
