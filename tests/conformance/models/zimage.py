from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "x": [noise(4, 1, 4 * size, 4 * size, seed=10 * step + row) for row in range(rows)],
        "t": torch.full((rows,), 0.1 + 0.2 * step),  # it rises
        "cap_feats": [noise(5 + row, 12, seed=100 + row) for row in range(rows)],
    }


_CONFIG: dict[str, Any] = {
    "in_channels": 4,
    "dim": 16,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 12,
    "axes_dims": (4, 2, 2),
    "axes_lens": (128, 16, 16),
}

MODELS = (
    TinyTransformer("ZImageTransformer2DModel", _CONFIG, _inputs, without_timestep=("context_refiner",)),
)
