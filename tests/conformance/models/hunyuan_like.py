"""Models with HunyuanVideo's blocks."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of

_CONFIG: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "text_embed_dim": 12,
    "mlp_ratio": 2.0,
}
_BOTH: dict[str, Any] = {**_CONFIG, "num_single_layers": 2, "num_refiner_layers": 1}
_VIDEO: dict[str, Any] = {"patch_size": 2, "patch_size_t": 1, "rope_axes_dim": (4, 6, 6)}


def _text(rows: int, step: int) -> dict[str, Any]:
    return {
        "timestep": timestep_of(step, rows),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": (torch.arange(5).expand(rows, 5) < 4).long(),
    }


def _second_text(rows: int) -> dict[str, Any]:
    return {
        "encoder_hidden_states_2": noise(rows, 3, 10, seed=101),
        "encoder_attention_mask_2": torch.ones(rows, 3, dtype=torch.long),
    }


def _image(rows: int, size: int, step: int) -> dict[str, Any]:
    latents = noise(rows, 4, 2 * size, 2 * size, seed=step)
    return {"hidden_states": latents, **_text(rows, step), **_second_text(rows)}


def _video(rows: int, size: int, step: int) -> dict[str, Any]:
    return {"hidden_states": noise(rows, 4, 2, 4 * size, 4 * size, seed=step), **_text(rows, step)}


def _video15(rows: int, size: int, step: int) -> dict[str, Any]:
    images = noise(rows, 2, 6, seed=102)
    return {**_video(rows, size, step), **_second_text(rows), "image_embeds": images}


def _framepack(rows: int, size: int, step: int) -> dict[str, Any]:
    history = {"latents_clean": 2, "latents_history_2x": 2, "latents_history_4x": 4}
    inputs = _video(rows, size, step)
    for number, (name, frames) in enumerate(history.items()):
        inputs[name] = noise(rows, 4, frames, 4 * size, 4 * size, seed=110 + number)
        inputs[f"indices_{name}"] = torch.arange(frames)
    return {
        **inputs,
        "pooled_projections": noise(rows, 8, seed=103),
        "image_embeds": noise(rows, 3, 6, seed=104),
        "indices_latents": torch.arange(2),
        "guidance": torch.full((rows,), 6000.0),
    }


MODELS = (
    TinyTransformer(
        "HunyuanImageTransformer2DModel",
        {**_BOTH, "patch_size": (1, 1), "text_embed_2_dim": 10, "rope_axes_dim": (8, 8)},
        _image,
    ),
    TinyTransformer(
        "HunyuanVideoFramepackTransformer3DModel",
        {
            **_BOTH,
            **_VIDEO,
            "pooled_projection_dim": 8,
            "has_image_proj": True,
            "image_proj_dim": 6,
            "has_clean_x_embedder": True,
        },
        _framepack,
    ),
    TinyTransformer(
        "MotifVideoTransformer3DModel",
        {key: value for key, value in {**_BOTH, **_VIDEO}.items() if key != "num_refiner_layers"},
        _video,
    ),
    TinyTransformer(
        "MotifVideoTransformer3DModel",
        {
            **{key: value for key, value in {**_BOTH, **_VIDEO}.items() if key != "num_refiner_layers"},
            "num_decoder_layers": 1,
            "enable_text_cross_attention_dual": True,
            "enable_text_cross_attention_single": True,
        },
        _video,
        name="cross",
    ),
    TinyTransformer(
        "HunyuanVideo15Transformer3DModel",
        {
            **_CONFIG,
            **_VIDEO,
            "num_refiner_layers": 1,
            "text_embed_2_dim": 10,
            "image_embed_dim": 6,
        },
        _video15,
        unread=("transformer_blocks[1].ff_context",),
    ),
)
