from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 2, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
    }


_CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "in_channels": 4,
    "out_channels": 4,
    "patch_size": 2,
    "num_layers": 3,
    "mmdit_layers": 3,
    "time_embed_dim": 8,
    "text_embed_dim": 12,
}

MODELS = (
    TinyTransformer(
        "EasyAnimateTransformer3DModel", _CONFIG, _inputs, unread=("transformer_blocks[2].txt_ff",)
    ),
    # The last two blocks have no feed-forward for the text alone.
    TinyTransformer(
        "EasyAnimateTransformer3DModel", {**_CONFIG, "mmdit_layers": 1}, _inputs, name="one-txt_ff"
    ),
)
