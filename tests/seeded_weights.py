"""Weights that need no download: every tensor's values follow from its name (see the golden ImageReward numbers)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

TINY_WORDS = ["a", "large", "small", "red", "circle", "on", "gray", "background", "##s"]
TINY_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TINY_WORDS]

_VISION, _TEXT, _PATCHES, _POSITIONS = 64, 32, 4, 40


def seeded(shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Name -> float32 tensor; matrices are scaled by their rows' length, so that activations keep their size."""
    state = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        values = torch.randn(tuple(shape), generator=generator)
        if len(shape) >= 2:
            scale = 1.5 if name.startswith("mlp.") else 1.0
            state[name] = values.mul_(scale / values[0].numel() ** 0.5)
        else:
            state[name] = 1 + 0.1 * values if name.endswith("weight") else 0.03 * values
    return state


def tiny_image_reward() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A state dict with the image-reward package's names but one narrow layer each, and its med_config."""
    vocabulary = len(TINY_VOCABULARY) + 2  # with [DEC] and [ENC]

    def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    vision, block = "blip.visual_encoder", "blip.visual_encoder.blocks.0"
    text, layer = "blip.text_encoder.embeddings", "blip.text_encoder.encoder.layer.0"
    shapes: dict[str, tuple[int, ...]] = {
        f"{vision}.cls_token": (1, 1, _VISION),
        f"{vision}.pos_embed": (1, 1 + _PATCHES, _VISION),
        f"{vision}.patch_embed.proj.weight": (_VISION, 3, 16, 16),
        f"{vision}.patch_embed.proj.bias": (_VISION,),
        **norm(f"{block}.norm1", _VISION),
        **linear(f"{block}.attn.qkv", 3 * _VISION, _VISION),
        **linear(f"{block}.attn.proj", _VISION, _VISION),
        **norm(f"{block}.norm2", _VISION),
        **linear(f"{block}.mlp.fc1", 2 * _VISION, _VISION),
        **linear(f"{block}.mlp.fc2", _VISION, 2 * _VISION),
        **norm(f"{vision}.norm", _VISION),
        f"{text}.word_embeddings.weight": (vocabulary, _TEXT),
        f"{text}.position_embeddings.weight": (_POSITIONS, _TEXT),
        **norm(f"{text}.LayerNorm", _TEXT),
    }
    for attention, width in (("attention", _TEXT), ("crossattention", _VISION)):
        shapes |= linear(f"{layer}.{attention}.self.query", _TEXT, _TEXT)
        shapes |= linear(f"{layer}.{attention}.self.key", _TEXT, width)
        shapes |= linear(f"{layer}.{attention}.self.value", _TEXT, width)
        shapes |= linear(f"{layer}.{attention}.output.dense", _TEXT, _TEXT)
        shapes |= norm(f"{layer}.{attention}.output.LayerNorm", _TEXT)
    shapes |= linear(f"{layer}.intermediate.dense", 2 * _TEXT, _TEXT)
    shapes |= linear(f"{layer}.output.dense", _TEXT, 2 * _TEXT)
    shapes |= norm(f"{layer}.output.LayerNorm", _TEXT)
    shapes |= linear("blip.vision_proj", 8, _VISION) | linear("blip.text_proj", 8, _TEXT)
    for place, outputs, inputs in ((0, 16, _TEXT), (2, 8, 16), (4, 4, 8), (6, 2, 4), (7, 1, 2)):
        shapes |= linear(f"mlp.layers.{place}", outputs, inputs)
    state = seeded(shapes)
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(_POSITIONS)[None]
    config = {
        "hidden_act": "gelu",
        "hidden_size": _TEXT,
        "intermediate_size": 2 * _TEXT,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": _POSITIONS,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "pad_token_id": 0,
        "vocab_size": vocabulary,
        "encoder_width": _VISION,
    }
    return state, config


def write_image_reward_folder(folder: Path) -> Path:
    """The three files that the image-reward scorer reads, of the tiny network."""
    folder.mkdir(parents=True, exist_ok=True)
    state, config = tiny_image_reward()
    torch.save(state, folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(TINY_VOCABULARY) + "\n")
    return folder
