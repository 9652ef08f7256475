"""Video models with Wan's blocks."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of

_FRAMES = 2

_CONFIG: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
}
_WITH_NORM = {**_CONFIG, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 32}


def _latents(rows: int, size: int, step: int, channels: int = 4, frames: int = _FRAMES) -> torch.Tensor:
    return noise(rows, channels, frames, 4 * size, 4 * size, seed=step)


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": _latents(rows, size, step),
        "encoder_hidden_states": noise(rows, 5, 16, seed=100),
        "timestep": timestep_of(step, rows),
    }


def _anyflow(rows: int, size: int, step: int) -> dict[str, Any]:
    inputs = _inputs(rows, size, step)
    return {
        **inputs,
        "hidden_states": inputs["hidden_states"].transpose(1, 2),  # frames before channels
        "timestep": inputs["timestep"][:, None].expand(rows, _FRAMES),
        "r_timestep": timestep_of(step + 1, rows)[:, None].expand(rows, _FRAMES),
    }


def _vace(rows: int, size: int, step: int) -> dict[str, Any]:
    return {**_inputs(rows, size, step), "control_hidden_states": _latents(rows, size, 102, channels=6)}


def _animate(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        **_inputs(rows, size, step),
        "hidden_states": _latents(rows, size, step, channels=12, frames=3),
        "encoder_hidden_states_image": noise(rows, 4, 4, seed=101),
        "pose_hidden_states": _latents(rows, size, 102, frames=2),
        "face_pixel_values": noise(rows, 3, 5, 16, 16, seed=103),
    }


def _helios(rows: int, size: int, step: int) -> dict[str, Any]:
    history = {"short": 2, "mid": 2, "long": 4}
    frames = {name: torch.arange(count).expand(rows, count) for name, count in history.items()}
    return {
        **_inputs(rows, size, step),
        "indices_hidden_states": torch.arange(_FRAMES).expand(rows, _FRAMES),
        **{f"indices_latents_history_{name}": each for name, each in frames.items()},
        **{
            f"latents_history_{name}": _latents(rows, size, 103, frames=count)
            for name, count in history.items()
        },
    }


MODELS = (
    TinyTransformer("ChronoEditTransformer3DModel", {**_WITH_NORM, "rope_temporal_skip_len": 8}, _inputs),
    TinyTransformer("SkyReelsV2Transformer3DModel", _WITH_NORM, _inputs),
    TinyTransformer("AnyFlowTransformer3DModel", {**_CONFIG, "rope_max_seq_len": 32}, _anyflow),
    TinyTransformer(
        "HeliosTransformer3DModel",
        {**_CONFIG, "qk_norm": "rms_norm_across_heads", "rope_dim": (4, 4, 4)},
        _helios,
    ),
    TinyTransformer(
        "WanVACETransformer3DModel", {**_WITH_NORM, "vace_layers": [0], "vace_in_channels": 6}, _vace
    ),
    TinyTransformer(
        "WanAnimateTransformer3DModel",
        {
            **_WITH_NORM,
            "in_channels": 12,
            "latent_channels": 4,
            "num_layers": 2,
            "image_dim": 4,
            "motion_encoder_channel_sizes": {"4": 16, "8": 16, "16": 16},
            "motion_encoder_size": 16,
            "motion_style_dim": 8,
            "motion_dim": 4,
            "motion_encoder_dim": 16,
            "face_encoder_hidden_dim": 16,
            "face_encoder_num_heads": 2,
            "inject_face_latents_blocks": 2,
        },
        _animate,
    ),
)
