"""A `HunyuanDiTPipeline` as published (BERT and T5 read the prompts, DDPM, no safety checker), only smaller."""

from __future__ import annotations

import string
import tempfile
from functools import cache, partial
from typing import Any

import torch
from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline
from tiny_models import _pipeline, _t5_encoder, _vae, t5_tokenizer
from transformers import BertConfig, BertModel, BertTokenizer

_WIDTH = 16


@cache
def bert_tokenizer() -> Any:
    """A `BertTokenizer` of letters."""
    letters = string.ascii_lowercase
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer({token: number for number, token in enumerate(tokens)}, model_max_length=77)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return BertTokenizer.from_pretrained(folder)


def bert_encoder() -> Any:
    torch.manual_seed(1)
    return BertModel(
        BertConfig(
            vocab_size=len(bert_tokenizer()),
            hidden_size=_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=77,
        )
    )


def tiny_hunyuan_dit() -> Any:
    torch.manual_seed(0)
    t5 = t5_tokenizer()
    transformer = HunyuanDiT2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        patch_size=2,
        sample_size=128,
        hidden_size=16,
        num_layers=4,
        mlp_ratio=4.3637,
        cross_attention_dim=_WIDTH,
        cross_attention_dim_t5=_WIDTH,
        pooled_projection_dim=_WIDTH,
        text_len=77,
        text_len_t5=256,
        use_style_cond_and_image_meta_size=False,
    )
    return _pipeline(
        partial(HunyuanDiTPipeline, requires_safety_checker=False),
        tokenizer=bert_tokenizer(),
        text_encoder=bert_encoder(),
        tokenizer_2=t5,
        text_encoder_2=_t5_encoder(len(t5)),
        transformer=transformer,
        vae=_vae(scaling_factor=0.13025),
        scheduler=DDPMScheduler(prediction_type="v_prediction", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
    )
