"""The networks of flux-mini, all of them diffusers' and transformers' own classes."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from transformers import CLIPTextConfig, CLIPTextModel

WIDTH = 128
HEADS = 4
DOUBLE_BLOCKS = 3
SINGLE_BLOCKS = 5
POOLED_WIDTH = 64
# Every caption is padded to this many tokens, here and by whoever calls the pipeline (`max_sequence_length`).
TEXT_LENGTH = 24
# Image tokens: 8 x 8, each 2 x 2 latents of 4 channels.
GRID = 8
TOKEN_CHANNELS = 16


def build_clip(vocabulary_size: int, start_id: int, end_id: int) -> CLIPTextModel:
    """A two-layer CLIP text encoder; its pooled output is the state of the first end token."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=POOLED_WIDTH,
            intermediate_size=4 * POOLED_WIDTH,
            projection_dim=POOLED_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=start_id,
            eos_token_id=end_id,
            pad_token_id=end_id,
        )
    )


def build_flux_transformer() -> FluxTransformer2DModel:
    """64 image and 24 text tokens; zero modulations and a zero output layer, as in the DiT paper (adaLN-zero)."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=TOKEN_CHANNELS,
        num_layers=DOUBLE_BLOCKS,
        num_single_layers=SINGLE_BLOCKS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=128,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            if is_modulation(name) or name == "proj_out":
                torch.nn.init.zeros_(module.weight)
            elif name.startswith("time_text_embed"):
                torch.nn.init.normal_(module.weight, std=0.02)
            else:
                torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return transformer


def is_modulation(name: str) -> bool:
    """Whether a parameter or module makes a block's shifts, scales and gates."""
    return ".norm1" in name or name.startswith("norm_out.linear") or ".norm.linear" in name


def build_flux_scheduler(shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """Euler steps along the straight flow; `shift` > 1 spends more of them where the noise is strong."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift, use_dynamic_shifting=False)


def image_ids() -> torch.Tensor:
    """Positions of the image tokens, float32 (64, 3), as `FluxPipeline` makes them."""
    ids = torch.zeros(GRID, GRID, 3)
    ids[..., 1] += torch.arange(GRID)[:, None]
    ids[..., 2] += torch.arange(GRID)[None, :]
    return ids.reshape(GRID * GRID, 3)


def text_ids() -> torch.Tensor:
    """Positions of the text tokens, float32 (24, 3): all zero, as `FluxPipeline` makes them."""
    return torch.zeros(TEXT_LENGTH, 3)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Latents (n, 4, 16, 16) -> tokens (n, 64, 16), in the order of `FluxPipeline`."""
    n = len(latents)
    tokens = latents.view(n, 4, GRID, 2, GRID, 2).permute(0, 2, 4, 1, 3, 5)
    return tokens.reshape(n, GRID * GRID, TOKEN_CHANNELS)


class ClassicFluxAttention:
    """FLUX's attention in plain matrix products, for training: the fused one's backward pass is slow on a CPU."""

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None
    ):
        def heads(x):
            return x.unflatten(-1, (-1, attn.head_dim))

        query = attn.norm_q(heads(attn.to_q(hidden_states)))
        key = attn.norm_k(heads(attn.to_k(hidden_states)))
        value = heads(attn.to_v(hidden_states))
        if encoder_hidden_states is not None:
            text_query = attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states)))
            text_key = attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states)))
            text_value = heads(attn.add_v_proj(encoder_hidden_states))
            query = torch.cat([text_query, query], dim=1)
            key = torch.cat([text_key, key], dim=1)
            value = torch.cat([text_value, value], dim=1)
        query = apply_rotary_emb(query, image_rotary_emb, sequence_dim=1).transpose(1, 2)
        key = apply_rotary_emb(key, image_rotary_emb, sequence_dim=1).transpose(1, 2)
        weights = (query @ key.transpose(2, 3) * attn.head_dim**-0.5).softmax(-1)
        mixed = (weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return mixed
        length = encoder_hidden_states.shape[1]
        image = attn.to_out[0](mixed[:, length:].contiguous())
        return image, attn.to_add_out(mixed[:, :length].contiguous())
