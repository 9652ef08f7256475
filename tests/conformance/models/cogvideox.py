"""CogVideoX, whose version 1.5 has tokens of two latent frames."""

from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 2, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
    }


_CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 8,
    "text_embed_dim": 12,
    "num_layers": 3,
    "sample_width": 4,
    "sample_height": 4,
    "sample_frames": 5,
    "patch_size": 2,
    "max_text_seq_length": 5,
}

MODELS = (
    TinyTransformer("CogVideoXTransformer3DModel", _CONFIG, _inputs),
    TinyTransformer(
        "CogVideoXTransformer3DModel",
        {**_CONFIG, "patch_size_t": 2, "use_rotary_positional_embeddings": True},
        _inputs,
        "1.5",
    ),
)
