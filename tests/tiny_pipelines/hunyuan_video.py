"""A tiny `HunyuanVideoPipeline`."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import _clip_encoder, _pipeline, clip_tokenizer

SIZE = {"height": 32, "width": 32, "num_frames": 5}
_WIDTH = 16


def build() -> Any:
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    clip, words = clip_tokenizer(), _word_tokenizer()
    encoder = _clip_encoder(len(clip))
    return _pipeline(
        HunyuanVideoPipeline,
        tokenizer=words,
        tokenizer_2=clip,
        text_encoder=LlamaModel(
            LlamaConfig(
                vocab_size=len(words),
                hidden_size=_WIDTH,
                intermediate_size=_WIDTH,
                num_hidden_layers=3,
                num_attention_heads=2,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
            )
        ),
        text_encoder_2=encoder,
        transformer=HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_single_layers=2,
            num_refiner_layers=1,
            text_embed_dim=_WIDTH,
            pooled_projection_dim=encoder.config.hidden_size,
            rope_axes_dim=(4, 6, 6),
        ),
        vae=AutoencoderKLHunyuanVideo(
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def _word_tokenizer() -> Any:
    """A token for each word and each group of other signs: the pipeline cuts off 95, about as many as its template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {
        word: index for index, word in enumerate(["<pad>", "<unk>", "a", "red", "bicycle", "harbour", "at"])
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", padding_side="right"
    )
