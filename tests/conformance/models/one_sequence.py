"""Models whose blocks are an attention and a feed-forward over text and image as one sequence."""

from __future__ import annotations

from typing import Any

import torch
from conformance.tiny import TinyTransformer, noise, timestep_of

_TEXT = 5


def _places(size: int) -> torch.Tensor:
    """Ids (text tokens + image tokens, 3) of a text and an image of 2 x size tokens each way."""
    text = torch.arange(_TEXT)[:, None].expand(_TEXT, 3)
    image = torch.cartesian_prod(torch.tensor([0]), torch.arange(2 * size), torch.arange(2 * size))
    return torch.cat([text, image])


def _omnigen(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = _TEXT + 1 + 4 * size * size
    return {
        "hidden_states": noise(rows, 4, 4 * size, 4 * size, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "input_ids": torch.arange(_TEXT).expand(rows, _TEXT),
        "input_img_latents": [noise(1, 4, 2, 2, seed=100)] * rows,
        "input_image_sizes": {row: [[0, 1]] for row in range(rows)},
        "attention_mask": torch.ones(rows, tokens, tokens),
        "position_ids": torch.arange(tokens).expand(rows, tokens),
    }


def _ernie(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4, 2 * size, 2 * size, seed=step),
        "timestep": timestep_of(step, rows),
        "text_bth": noise(rows, _TEXT, 12, seed=100),
        "text_lens": torch.full((rows,), 4),
    }


def _ideogram(rows: int, size: int, step: int) -> dict[str, Any]:
    places = _places(size)
    tokens = len(places)
    return {
        "hidden_states": noise(rows, tokens, 4, seed=step),
        "timestep": timestep_of(step, rows, 1.0),
        "encoder_hidden_states": noise(rows, tokens, 12, seed=100),
        "position_ids": places.expand(rows, tokens, 3),
        "segment_ids": torch.ones(rows, tokens, dtype=torch.long),
        # 3: text, 2: image
        "indicator": torch.where(torch.arange(tokens) < _TEXT, 3, 2).expand(rows, tokens),
    }


def _cosmos3(rows: int, size: int, step: int) -> dict[str, Any]:
    tokens = rows * size * size  # of 2 x 2 latents
    places = torch.arange(_TEXT + tokens)
    vision = places[_TEXT:]
    return {
        "input_ids": torch.arange(_TEXT),
        "text_indexes": places[:_TEXT],
        "position_ids": places.expand(3, -1),
        "und_len": _TEXT,
        "sequence_length": len(places),
        "vision_tokens": [noise(1, 4, 1, 2 * size, 2 * size, seed=step + row) for row in range(rows)],
        "vision_token_shapes": [(1, size, size)] * rows,
        "vision_sequence_indexes": vision,
        "vision_mse_loss_indexes": vision,
        "vision_timesteps": timestep_of(step, tokens),
        "vision_noisy_frame_indexes": [torch.tensor([0])] * rows,
    }


def _krea(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4 * size * size, 4, seed=step),
        "encoder_hidden_states": noise(rows, _TEXT, 3, 12, seed=100),
        "timestep": timestep_of(step, rows, 1.0),
        "position_ids": _places(size),
    }


def _minimax(rows: int, size: int, step: int) -> dict[str, Any]:
    places, audio = _places(size), 2
    video = len(places) - _TEXT
    places = torch.cat([places, torch.arange(audio)[:, None].expand(audio, 3)])
    tags = torch.cat([torch.full((count,), tag) for tag, count in enumerate((_TEXT, video, audio))])
    return {
        "hidden_states": noise(rows, video, 16, seed=step),
        "audio_hidden_states": noise(rows, audio, 6, seed=10 + step),
        "encoder_hidden_states": noise(rows, _TEXT, 12, seed=100),
        "timestep": torch.cat([torch.zeros(1), timestep_of(step, 1)]),
        "timestep_indices": (tags > 0).long(),  # text sees the first time, the others the second
        "token_tags": tags,
        "position_ids": places.float(),
        "text_indices": torch.arange(_TEXT),
        "video_indices": torch.arange(_TEXT, _TEXT + video),
        "audio_indices": torch.arange(_TEXT + video, len(places)),
    }


def _nucleus(rows: int, size: int, step: int) -> dict[str, Any]:
    return {
        "hidden_states": noise(rows, 4 * size * size, 16, seed=step),
        "img_shapes": [(1, 2 * size, 2 * size)] * rows,
        "encoder_hidden_states": noise(rows, _TEXT, 12, seed=100),
        "encoder_hidden_states_mask": torch.arange(_TEXT).expand(rows, _TEXT) < 4,
        "timestep": timestep_of(step, rows, 1.0),
    }


def _qwen(rows: int, size: int, step: int) -> dict[str, Any]:
    slots = size * size  # of four image tokens each
    return {
        "hidden_states": noise(rows, 4 * slots, 4, seed=step),
        "encoder_hidden_states": noise(rows, _TEXT, 12, seed=100),
        "timestep": timestep_of(step, rows, 1.0),
        "img_shapes": [[(1, 2 * size, 2 * size)]] * rows,
        "img_mask": (torch.arange(_TEXT + slots) >= _TEXT).expand(rows, -1),
    }


MODELS = (
    TinyTransformer(
        "OmniGenTransformer2DModel",
        {
            "in_channels": 4,
            "patch_size": 2,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 24,
            "num_layers": 2,
            "pad_token_id": 0,
            "vocab_size": 12,
            "max_position_embeddings": 64,
            "original_max_position_embeddings": 32,
            "rope_scaling": {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4},
            "pos_embed_max_size": 8,
            "time_step_dim": 16,
        },
        _omnigen,
    ),
    TinyTransformer(
        "Cosmos3OmniTransformer",
        {
            "head_dim": 16,
            "hidden_size": 32,
            "intermediate_size": 48,
            "latent_channel": 4,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "patch_latent_dim": 16,
            "vocab_size": 12,
            "rope_axes_dim": (4, 2, 2),
        },
        _cosmos3,
        without_timestep=("layers.mlp",),
    ),
    TinyTransformer(
        "ErnieImageTransformer2DModel",
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 48,
            "in_channels": 4,
            "out_channels": 4,
            "text_in_dim": 12,
            "rope_axes_dim": (4, 6, 6),
        },
        _ernie,
    ),
    TinyTransformer(
        "Ideogram4Transformer2DModel",
        {
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "adaln_dim": 8,
            "llm_features_dim": 12,
            "mrope_section": (4, 2, 2),
        },
        _ideogram,
    ),
    TinyTransformer(
        "Krea2Transformer2DModel",
        {
            "in_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 48,
            "timestep_embed_dim": 16,
            "text_hidden_dim": 12,
            "num_text_layers": 3,
            "text_num_attention_heads": 2,
            "text_num_key_value_heads": 2,
            "text_intermediate_size": 16,
            "num_layerwise_text_blocks": 1,
            "num_refiner_text_blocks": 1,
            "axes_dims_rope": (4, 6, 6),
        },
        _krea,
    ),
    TinyTransformer(
        "MiniMaxH3Transformer3DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "hidden_size": 24,
            "num_layers": 2,
            "num_refiner_layers": 1,
            "ffn_dim": 32,
            "in_channels": 4,
            "audio_in_channels": 6,
            "text_dim": 12,
            "freq_dim": 16,
            "time_embed_hidden_dim": 24,
            "time_embed_dim": 12,
            "rope_freq_dim": 2,
        },
        _minimax,
    ),
    TinyTransformer(
        "NucleusMoEImageTransformer2DModel",
        {
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "joint_attention_dim": 12,
            "axes_dims_rope": (4, 6, 6),
            "mlp_ratio": 6.0,  # its inner width is rounded down to 128
            "dense_moe_strategy": "leave_first_block_dense",
            "num_experts": 4,
            "moe_intermediate_dim": 16,
            "capacity_factors": 1.0,
        },
        _nucleus,
    ),
    TinyTransformer(
        "QwenImage21Transformer2DModel",
        {
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "context_in_dim": 12,
            "mlp_ratio": 2,
            "axes_dims_rope": (4, 6, 6),
        },
        _qwen,
    ),
)
