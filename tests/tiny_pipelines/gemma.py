"""A tiny Gemma 2 as text encoder, and its tokenizer: what Sana and Lumina2 read prompts with."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any

import torch
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

WIDTH = 16


@cache
def gemma_tokenizer() -> Any:
    """A `GemmaTokenizer` trained on the bundled prompts, whose padding is on the left as published."""
    from ecad.resources import find_prompts

    prompts = find_prompts("ecad-100")
    assert prompts is not None
    lines = prompts.read_text(encoding="utf-8").splitlines()
    trained = GemmaTokenizer().train_new_from_iterator(lines, 300, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        trained.save_pretrained(folder)
        return GemmaTokenizer.from_pretrained(folder)


def gemma_encoder() -> Any:
    torch.manual_seed(1)
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(gemma_tokenizer()),
            hidden_size=WIDTH,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=4096,
        )
    )
