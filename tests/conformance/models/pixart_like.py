"""Models with PixArt's components under other classes."""

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


def _allegro(rows: int, size: int, step: int) -> dict[str, Any]:
    places = torch.cartesian_prod(torch.arange(2), torch.arange(2 * size), torch.arange(2 * size))
    frames, height, width = places.T[:, None]  # each (1, tokens)
    sizes = (2, 2 * size, 2 * size)
    angles = [torch.outer(torch.arange(count).float(), torch.ones(4)) for count in sizes]
    frequencies = [(each.cos(), each.sin()) for each in angles]
    return {**_video(rows, size, step), "image_rotary_emb": (frequencies, (frames, height, width))}


def _cosmos(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        **_video(rows, size, step),
        "fps": 30,
        "padding_mask": torch.zeros(1, 1, 4 * size, 4 * size),
    }


def _lumina(rows: int, size: int, step: int) -> dict[str, Any]:
    angles = torch.arange(16.0).reshape(4, 4, 1).expand(4, 4, 4) / 7
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_mask": torch.arange(5).expand(rows, 5) < 4,
        "image_rotary_emb": torch.polar(torch.ones_like(angles), angles),
        "cross_attention_kwargs": {},
    }


_HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2}
_CHANNELS = {"in_channels": 4, "out_channels": 4}

MODELS = (
    TinyTransformer(
        "LatteTransformer3DModel",
        {
            **_HEADS,
            **_CHANNELS,
            "cross_attention_dim": 16,
            "sample_size": 8,
            "patch_size": 2,
            "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False,
            "caption_channels": 12,
            "video_length": 2,
        },
        _video,
    ),
    TinyTransformer(
        "AllegroTransformer3DModel",
        {
            **_HEADS,
            **_CHANNELS,
            "attention_head_dim": 12,
            "cross_attention_dim": 24,
            "caption_channels": 12,
            "sample_height": 8,
            "sample_width": 8,
            "sample_frames": 4,
        },
        _allegro,
    ),
    TinyTransformer(
        "CosmosTransformer3DModel",
        {
            **_HEADS,
            **_CHANNELS,
            "attention_head_dim": 12,
            "mlp_ratio": 2,
            "text_embed_dim": 12,
            "adaln_lora_dim": 4,
            "max_size": (4, 16, 16),
            "patch_size": (1, 2, 2),
            "rope_scale": (2.0, 1.0, 1.0),
        },
        _cosmos,
    ),
    TinyTransformer(
        "SanaVideoTransformer3DModel",
        {
            **_HEADS,
            **_CHANNELS,
            "attention_head_dim": 12,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 12,
            "cross_attention_dim": 24,
            "caption_channels": 12,
            "mlp_ratio": 2.0,
            "sample_size": 8,
            "rope_max_seq_len": 32,
        },
        _video,
    ),
    TinyTransformer(
        "LuminaNextDiT2DModel",
        {
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "hidden_size": 16,
            "num_layers": 2,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "cross_attention_dim": 12,
        },
        _lumina,
    ),
)
