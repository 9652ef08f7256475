"""A `ZImagePipeline` as published (Qwen 3 reads the prompts, in a chat template), only smaller."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from tiny_models import _pipeline, _vae
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

_WIDTH = 16
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


@cache
def qwen_tokenizer() -> Any:
    """A `Qwen2Tokenizer` trained on the bundled prompts, with the marks of a chat."""
    from ecad.resources import find_prompts

    prompts = find_prompts("ecad-100")
    assert prompts is not None
    lines = prompts.read_text(encoding="utf-8").splitlines()
    trained = Qwen2Tokenizer().train_new_from_iterator(lines, 400, show_progress=False)
    trained.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    trained.chat_template = _TEMPLATE
    with tempfile.TemporaryDirectory() as folder:
        trained.save_pretrained(folder)
        return Qwen2Tokenizer.from_pretrained(folder)


def qwen_encoder() -> Any:
    torch.manual_seed(1)
    return Qwen3Model(
        Qwen3Config(
            vocab_size=len(qwen_tokenizer()),
            hidden_size=_WIDTH,
            intermediate_size=16,
            num_hidden_layers=2,  # the last but one is read
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=1024,
        )
    )


def tiny_zimage() -> Any:
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=16,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=_WIDTH,
        axes_dims=(4, 2, 2),
        axes_lens=(1024, 32, 32),
    )
    return _pipeline(
        ZImagePipeline,
        tokenizer=qwen_tokenizer(),
        text_encoder=qwen_encoder(),
        transformer=transformer,
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
    )
