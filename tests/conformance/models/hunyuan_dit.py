"""HunyuanDiT up to 1.1, which is told sizes and a style, and from 1.2 on."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of

_TEXT, _TEXT_T5 = 3, 4


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = 4 * size * size
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows),
        "encoder_hidden_states": noise(rows, _TEXT, 12, seed=100),
        "text_embedding_mask": torch.ones(rows, _TEXT),
        "encoder_hidden_states_t5": noise(rows, _TEXT_T5, 16, seed=101),
        "text_embedding_mask_t5": (torch.arange(_TEXT_T5) < 2).float().repeat(rows, 1),
        "image_meta_size": torch.tensor([[32.0, 32.0, 32.0, 32.0, 0.0, 0.0]] * rows),
        "style": torch.zeros(rows, dtype=torch.long),
        "image_rotary_emb": (noise(tokens, 8, seed=102), noise(tokens, 8, seed=103)),
    }


_CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "patch_size": 2,
    "sample_size": 4,
    "hidden_size": 16,
    "num_layers": 6,  # 4 and 5 read what 1 and 0 returned
    "mlp_ratio": 3.3,
    "cross_attention_dim": 12,
    "cross_attention_dim_t5": 16,
    "pooled_projection_dim": 10,
    "text_len": _TEXT,
    "text_len_t5": _TEXT_T5,
}

MODELS = (
    TinyTransformer("HunyuanDiT2DModel", {**_CONFIG, "use_style_cond_and_image_meta_size": False}, _inputs),
    TinyTransformer("HunyuanDiT2DModel", {**_CONFIG, "num_layers": 4}, _inputs, name="style"),
)
