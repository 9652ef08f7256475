"""The networks of pixart-mini, all of them diffusers' and transformers' own classes."""

from __future__ import annotations

import torch
from data import WORD_TO_ID
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtTransformer2DModel
from transformers import T5Config, T5EncoderModel

WIDTH = 128
HEADS = 4
BLOCKS = 8


def build_vae() -> AutoencoderKL:
    """64 x 64 x 3 pixels <-> 16 x 16 x 4 latents."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def build_text_encoder() -> T5EncoderModel:
    """A two-layer T5 encoder over the words of the scene captions."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(WORD_TO_ID),
            d_model=WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=32,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def build_transformer() -> PixArtTransformer2DModel:
    """64 tokens (2 x 2 latents each), initialised as in the DiT and PixArt papers (zero output layers)."""
    transformer = PixArtTransformer2DModel(
        num_attention_heads=HEADS,
        attention_head_dim=WIDTH // HEADS,
        in_channels=4,
        out_channels=4,
        num_layers=BLOCKS,
        cross_attention_dim=WIDTH,
        sample_size=16,
        patch_size=2,
        caption_channels=WIDTH,
        use_additional_conditions=False,
        interpolation_scale=1,
    )
    for module in transformer.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    torch.nn.init.xavier_uniform_(transformer.pos_embed.proj.weight.flatten(1))
    torch.nn.init.zeros_(transformer.proj_out.weight)
    timestep_embedder = transformer.adaln_single.emb.timestep_embedder
    for linear in (transformer.adaln_single.linear, timestep_embedder.linear_1, timestep_embedder.linear_2):
        torch.nn.init.normal_(linear.weight, std=0.02)
    for block in transformer.transformer_blocks:
        torch.nn.init.zeros_(block.attn2.to_out[0].weight)
    return transformer


def build_scheduler() -> DPMSolverMultistepScheduler:
    """The sampler, whose noise levels are also the training's.

    The cosine schedule suits a small canvas: a linear one spends a third of the steps on almost pure noise.
    """
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
        # The cosine schedule ends in almost infinite noise; start where the solver's half log SNR is -5.1.
        lambda_min_clipped=-5.1,
    )
