"""A `Lumina2Pipeline` as published (Gemma 2 reads the prompts), only smaller."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Lumina2Pipeline, Lumina2Transformer2DModel
from tiny_models import _pipeline, _vae
from tiny_pipelines.gemma import WIDTH, gemma_encoder, gemma_tokenizer


def tiny_lumina2() -> Any:
    torch.manual_seed(0)
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(300, 32, 32),
        cap_feat_dim=WIDTH,
    )
    return _pipeline(
        Lumina2Pipeline,
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma_encoder(),
        transformer=transformer,
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=6.0),
    )
