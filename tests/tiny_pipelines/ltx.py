"""A tiny `LTXPipeline`."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import _pipeline, _t5_encoder, t5_tokenizer

SIZE = {"height": 32, "width": 32, "num_frames": 5}


def build() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    return _pipeline(
        LTXPipeline,
        tokenizer=tokenizer,
        text_encoder=_t5_encoder(len(tokenizer), 16),
        transformer=LTXVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            num_layers=2,
            caption_channels=16,
        ),
        vae=AutoencoderKLLTXVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            patch_size=1,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
