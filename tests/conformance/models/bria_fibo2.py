"""Bria FIBO 2."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 2, 5, 12, seed=100),
    }


MODELS = (
    TinyTransformer(
        "BriaFibo2Transformer2DModel",
        {
            "in_channels": 4,
            "patch_size": 2,
            "dim": 32,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "cap_feat_dim": 12,
            "injection_layer_ids": (1,),
            "perceiver_num_layers": 1,
            "min_num_gist_tokens": 2,
            "max_num_gist_tokens": 4,
            "gist_step": 2,
            "gist_min_text_len": 2,
            "gist_max_text_len": 8,
            "axes_dims": (4, 6, 6),
            "axes_lens": (16, 16, 16),
        },
        _inputs,
    ),
)
