"""Kandinsky 5 and 6."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 2, 4 * size, 4 * size, 4, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows),
        "pooled_projections": noise(rows, 10, seed=101),
    }


def _kandinsky5(rows: int, size: int, step: int) -> dict[str, Any]:
    places = tuple(torch.arange(count) for count in (2, 2 * size, 2 * size))
    return {**_inputs(rows, size, step), "visual_rope_pos": places, "text_rope_pos": torch.arange(5)}


def _kandinsky6(rows: int, size: int, step: int) -> dict[str, Any]:
    return {**_inputs(rows, size, step), "audio_hidden_states": noise(rows, 3, 6, seed=10 + step)}


_CONFIG: dict[str, Any] = {
    "in_visual_dim": 4,
    "out_visual_dim": 4,
    "in_text_dim": 12,
    "in_text_dim2": 10,
    "time_dim": 8,
    "model_dim": 24,
    "ff_dim": 32,
    "num_text_blocks": 1,
    "num_visual_blocks": 2,
    "axes_dims": (4, 4, 4),
    "visual_cond": False,
}

MODELS = (
    TinyTransformer("Kandinsky5Transformer3DModel", _CONFIG, _kandinsky5),
    TinyTransformer(
        "Kandinsky6Transformer3DModel", {**_CONFIG, "in_audio_dim": 6, "out_audio_dim": 6}, _kandinsky6
    ),
    TinyTransformer(
        "Kandinsky6Transformer3DModel",
        {**_CONFIG, "in_audio_dim": 6, "out_audio_dim": 6, "cross_gates": True, "ca_rope": True},
        _kandinsky6,
        name="gates",
    ),
)
