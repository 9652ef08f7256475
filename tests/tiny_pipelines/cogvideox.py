"""A tiny `CogVideoXPipeline`, whose scheduler has no step index."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import _pipeline, _t5_encoder, t5_tokenizer

# Of an even number of latent frames its VAE makes more frames than asked for.
SIZE = {"height": 32, "width": 32, "num_frames": 9}


def build() -> Any:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    return _pipeline(
        CogVideoXPipeline,
        tokenizer=tokenizer,
        text_encoder=_t5_encoder(len(tokenizer), 16),
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=4,
            time_embed_dim=8,
            text_embed_dim=16,
            num_layers=2,
            sample_width=4,
            sample_height=4,
            sample_frames=5,
        ),
        vae=AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
        ),
        scheduler=CogVideoXDDIMScheduler(
            prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
        ),
    )
