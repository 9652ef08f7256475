"""A tiny `WanPipeline`, with one transformer (Wan 2.1) or two (Wan 2.2)."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import _pipeline, _t5_encoder, t5_tokenizer

SIZE = {"height": 16, "width": 32, "num_frames": 5}


def build(*, two_transformers: bool = False, num_layers: int = 2) -> Any:
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()

    def transformer() -> Any:
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=32,
            ffn_dim=32,
            num_layers=num_layers,
            rope_max_seq_len=32,
        )

    extra: dict[str, Any] = (
        {"transformer_2": transformer(), "boundary_ratio": 0.8} if two_transformers else {}
    )
    return _pipeline(
        WanPipeline,
        tokenizer=tokenizer,
        text_encoder=_t5_encoder(len(tokenizer), 16),
        transformer=transformer(),
        vae=AutoencoderKLWan(
            base_dim=3,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        **extra,
    )
