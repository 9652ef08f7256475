"""Models with two streams and names of their own."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _video(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 2, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
    }


def _joy_plus(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        **_video(rows, size, step),
        "hidden_states": noise(rows, 8 * size * size, 4, 1, 2, 2, seed=step),
        "encoder_hidden_states_mask": (torch.arange(5).expand(rows, 5) < 4).float(),
        "shape_list": [[(1, 2 * size, 2 * size), (1, 2 * size, 2 * size)]] * rows,
    }


def _mochi(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        **_video(rows, size, step),
        "encoder_hidden_states": noise(rows, 5, 16, seed=100),
        "encoder_attention_mask": torch.arange(5).expand(rows, 5) < 4,
    }


def _ltx2(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 2 * 4 * size * size, 4, seed=step),
        "audio_hidden_states": noise(rows, 3, 6, seed=10 + step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "audio_encoder_hidden_states": noise(rows, 5, 12, seed=101),
        "timestep": timestep_of(step, rows),
        "num_frames": 2,
        "height": 2 * size,
        "width": 2 * size,
        "audio_num_frames": 3,
    }


_JOY: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "in_channels": 4,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "text_dim": 12,
    "mlp_width_ratio": 2.0,
    "num_layers": 2,
    "rope_dim_list": [4, 6, 6],
}

MODELS = (
    TinyTransformer("JoyImageEditTransformer3DModel", _JOY, _video, unread=("double_blocks[1].txt_mlp",)),
    TinyTransformer(
        "JoyImageEditPlusTransformer3DModel", _JOY, _joy_plus, unread=("double_blocks[1].txt_mlp",)
    ),
    TinyTransformer(
        "MochiTransformer3DModel",
        {
            "patch_size": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "num_layers": 2,
            "pooled_projection_dim": 16,
            "in_channels": 4,
            "text_embed_dim": 16,
            "time_embed_dim": 4,
        },
        _mochi,
    ),
    TinyTransformer(
        "LTX2VideoTransformer3DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "cross_attention_dim": 16,
            "audio_in_channels": 6,
            "audio_out_channels": 6,
            "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 4,
            "audio_cross_attention_dim": 8,
            "num_layers": 2,
            "caption_channels": 12,
        },
        _ltx2,
    ),
)
