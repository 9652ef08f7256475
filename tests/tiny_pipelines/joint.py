"""Tiny pipelines of the families with joint attention: diffusers' own classes, random weights of a fixed seed.

They stand for one published pipeline each, as those of `tiny_models` do.
"""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import _TEXT_WIDTH, _clip_encoder, _pipeline, _t5_encoder, _vae, clip_tokenizer, t5_tokenizer


def tiny_sd35_medium() -> Any:
    """A `StableDiffusion3Pipeline` with a second attention in its first block."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * _TEXT_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * _TEXT_WIDTH,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return _pipeline(
        StableDiffusion3Pipeline,
        tokenizer=clip,
        tokenizer_2=clip,
        tokenizer_3=t5,
        text_encoder=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_2=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_3=_t5_encoder(len(t5), 2 * _TEXT_WIDTH),
        transformer=transformer,
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
    )
