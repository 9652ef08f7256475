from __future__ import annotations

from typing import Any

from conformance.tiny import TinyTransformer, noise, timestep_of


def _inputs(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "encoder_hidden_states_t5": noise(rows, 5, 12, seed=100),
        "encoder_hidden_states_llama3": noise(2, rows, 5, 10, seed=101),
        "pooled_embeds": noise(rows, 6, seed=102),
        "timesteps": timestep_of(step, rows),
    }


_CONFIG: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "caption_channels": [12, 10],
    "text_emb_dim": 6,
    "num_routed_experts": 4,
    "num_activated_experts": 2,
    "axes_dims_rope": (4, 2, 2),
    "max_resolution": (16, 16),
    "llama_layers": (0, 1),
    "force_inference_output": True,
}

MODELS = (TinyTransformer("HiDreamImageTransformer2DModel", _CONFIG, _inputs),)
