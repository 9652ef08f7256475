"""Models that make sound."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of


def _stable(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = 6 * size
    angles = torch.outer(torch.arange(tokens + 1.0), torch.ones(4)) / 5  # one for the global states in front
    return {
        "hidden_states": noise(rows, 4, tokens, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "global_hidden_states": noise(rows, 1, 10, seed=101),
        "rotary_embedding": (angles.cos(), angles.sin()),
    }


def _stable3(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 6 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "global_hidden_states": noise(rows, 10, seed=101),
    }


def _ace(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 6 * size, 4, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "timestep_r": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "context_latents": noise(rows, 6 * size, 8, seed=101),
    }


def _longcat(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 6 * size, 4, seed=step),
        "encoder_hidden_states": noise(rows, 5, 12, seed=100),
        "encoder_attention_mask": torch.arange(5).expand(rows, 5) < 4,
        "timestep": timestep_of(step, rows, 1.0),
        "latent_cond": noise(rows, 6 * size, 4, seed=101),
    }


def _minimax(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 6 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, 6 * size, 12, seed=100),
    }


MODELS = (
    TinyTransformer(
        "StableAudioDiTModel",
        {
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 2,
            "num_key_value_attention_heads": 1,
            "cross_attention_dim": 8,
            "time_proj_dim": 8,
            "global_states_input_dim": 10,
            "cross_attention_input_dim": 12,
        },
        _stable,
    ),
    TinyTransformer(
        "StableAudio3DiTModel",
        {
            "io_channels": 4,
            "embed_dim": 16,
            "depth": 2,
            "num_heads": 2,
            "cond_token_dim": 12,
            "global_cond_dim": 10,
            "local_add_cond_dim": 5,
            "timestep_features_dim": 8,
            "ff_mult": 2.0,
            "num_memory_tokens": 2,
        },
        _stable3,
    ),
    TinyTransformer(
        "AceStepTransformer1DModel",
        {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "in_channels": 12,
            "audio_acoustic_hidden_dim": 4,
            "patch_size": 2,
            "sliding_window": 4,
            "encoder_hidden_size": 12,
        },
        _ace,
    ),
    TinyTransformer(
        "LongCatAudioDiTTransformer",
        {"dit_dim": 16, "dit_depth": 2, "dit_heads": 2, "dit_text_dim": 12, "latent_dim": 4, "ff_mult": 2.0},
        _longcat,
    ),
    TinyTransformer(
        "MiniMaxMusic3Transformer1DModel",
        {
            "in_channels": 4,
            "condition_dim": 12,
            "num_layers": 2,
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "ff_inner_dim": 24,
            "rotary_dim": 4,
            "fourier_embedding_dim": 16,
        },
        _minimax,
    ),
)
