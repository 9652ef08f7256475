"""Image models with FLUX's blocks under their own names, and relatives."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of

_CONFIG: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "axes_dims_rope": (4, 6, 6),
}


def _grid(rows: int, columns: int) -> torch.Tensor:
    """Ids of an image's tokens, shape (rows x columns, 3): 0, row, column."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    return torch.cat([torch.zeros(len(places), 1), places], dim=1)


def _tokens(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4 * size * size, 4, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "timestep": timestep_of(step, rows, 1.0),
        "txt_ids": torch.zeros(5, 3),
        "img_ids": _grid(2 * size, 2 * size),
    }


def _bria(rows: int, size: int, step: int) -> dict[str, Any]:
    return {**_tokens(rows, size, step), "timestep": timestep_of(step, rows)}


def _fibo(rows: int, size: int, step: int) -> dict[str, Any]:
    layers = [noise(rows, 5, 10, seed=200 + layer) for layer in range(4)]
    return {**_bria(rows, size, step), "text_encoder_layers": layers}


def _flux3(rows: int, size: int, step: int) -> dict[str, Any]:
    # With a target, text sees the time, too: without one its early blocks are the same in all steps.
    inputs = _tokens(rows, size, step)
    ids = {
        name: torch.cat([inputs[name], torch.zeros(len(inputs[name]), 1)], dim=1)
        for name in ("txt_ids", "img_ids")
    }
    return {**inputs, **ids, "target_timestep": timestep_of(step + 1, rows, 1.0)}


def _prx(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "attention_mask": torch.arange(5).expand(rows, 5) < 4,
    }


MODELS = (
    TinyTransformer("BriaTransformer2DModel", _CONFIG, _bria),
    TinyTransformer("OvisImageTransformer2DModel", {**_CONFIG, "out_channels": 4}, _tokens),
    TinyTransformer("LongCatImageTransformer2DModel", {**_CONFIG, "pooled_projection_dim": 12}, _tokens),
    TinyTransformer("BriaFiboTransformer2DModel", {**_CONFIG, "text_encoder_dim": 10}, _fibo),
    TinyTransformer(
        "Flux3Transformer2DModel",
        {
            "in_channels": 4,
            "cond_in_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 4, 4, 4),
            "flow_map": True,
        },
        _flux3,
    ),
    TinyTransformer(
        "PRXTransformer2DModel",
        {
            "in_channels": 4,
            "context_in_dim": 12,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 2,
            "axes_dim": [8, 8],
        },
        _prx,
    ),
)
