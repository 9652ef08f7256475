"""A `SanaPipeline` as published (Gemma 2, a VAE of 32 pixels a latent, flow DPM-Solver), only smaller."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from tiny_models import _pipeline
from tiny_pipelines.gemma import WIDTH, gemma_encoder, gemma_tokenizer


def tiny_sana() -> Any:
    torch.manual_seed(0)
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=32,
        patch_size=1,
    )
    stages = 6  # the last five halve height and width
    vae = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(4,) * stages,
        decoder_block_out_channels=(4,) * stages,
        encoder_layers_per_block=(1,) * stages,
        decoder_layers_per_block=(1,) * stages,
        encoder_qkv_multiscales=((),) * stages,
        decoder_qkv_multiscales=((),) * stages,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=0.41407,
    )
    return _pipeline(
        SanaPipeline,
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma_encoder(),
        vae=vae,
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(
            flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
        ),
    )
