"""A pipeline of two denoising networks: Kandinsky 2.2, a prior that makes image embeddings and a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_stable_diffusion import clip_tokenizer

_WIDTH = 16  # of all embeddings


def save_tiny_kandinsky(folder: Path) -> tuple[Path, Path, Path]:
    """Folders with random weights of a fixed seed: the combined pipeline of 16 x 16 pixels, its decoder, its prior."""
    import torch
    from diffusers import (
        DDPMScheduler,
        KandinskyV22CombinedPipeline,
        KandinskyV22Pipeline,
        KandinskyV22PriorPipeline,
        PriorTransformer,
        UnCLIPScheduler,
        UNet2DConditionModel,
        VQModel,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(folder)
    small: dict[str, Any] = {
        "hidden_size": _WIDTH,
        "intermediate_size": _WIDTH,
        "projection_dim": _WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {"max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    prior = {
        "prior": PriorTransformer(
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=1,
            embedding_dim=_WIDTH,
            num_embeddings=16,
            additional_embeddings=4,
        ),
        "image_encoder": CLIPVisionModelWithProjection(
            CLIPVisionConfig(image_size=16, patch_size=8, **small)
        ),
        "text_encoder": CLIPTextModelWithProjection(
            CLIPTextConfig(vocab_size=len(tokenizer), **text, **small)
        ),
        "tokenizer": tokenizer,
        "scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            clip_sample=True,
            clip_sample_range=10.0,
        ),
        "image_processor": CLIPImageProcessor(crop_size=16, size=16),
    }
    decoder = {
        "unet": UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=8,
            block_out_channels=(8, 16),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=4,
            addition_embed_type="image",
            encoder_hid_dim=_WIDTH,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=_WIDTH,
            resnet_time_scale_shift="scale_shift",
        ),
        "scheduler": DDPMScheduler(),
        "movq": VQModel(
            block_out_channels=(32, 32),  # its norms have 32 groups
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            norm_type="spatial",
            num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
    }
    combined = KandinskyV22CombinedPipeline(
        **decoder, **{f"prior_{name}": part for name, part in prior.items()}
    )
    folders = folder / "kandinsky", folder / "decoder", folder / "prior"
    for pipe, place in zip(
        (combined, KandinskyV22Pipeline(**decoder), KandinskyV22PriorPipeline(**prior)), folders, strict=True
    ):
        pipe.save_pretrained(place)
    return folders
