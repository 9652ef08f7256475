"""Stable Diffusion 3 and 3.5, whose medium size has a second attention in its first blocks."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "pooled_projections": noise(rows, 10, seed=101),
        "timestep": timestep_of(step, rows),
    }


_CONFIG: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 10,
    "out_channels": 4,
    "pos_embed_max_size": 16,
}

_DUAL: dict[str, Any] = {**_CONFIG, "dual_attention_layers": (0, 1), "qk_norm": "rms_norm"}

MODELS = (
    TinyTransformer("SD3Transformer2DModel", _CONFIG, _inputs),
    TinyTransformer("SD3Transformer2DModel", _DUAL, _inputs, name="dual"),
)
