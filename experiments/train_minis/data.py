"""Training data: random scenes that are not held out, rendered, with their captions as token ids."""

from __future__ import annotations

import numpy as np
import torch

from ecad.scoring.scenes import Scene, caption, render, sample_scenes, vocabulary

# Token ids: 0 pads, 1 ends a caption, 2 stands for any word outside the vocabulary; then the words in order.
SPECIAL_TOKENS = ["<pad>", "</s>", "<unk>"]
WORD_TO_ID = {word: number for number, word in enumerate([*SPECIAL_TOKENS, *vocabulary()])}
# The longest caption has 16 words; one more place for the end token.
CAPTION_LENGTH = 17


def training_scenes(n: int, rng: np.random.Generator) -> list[Scene]:
    """``n`` random scenes; combinations that are held out for evaluation never occur."""
    return sample_scenes(n, rng, held_out=False)


def images_of(scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
    """Rendered scenes: uint8 (n, 3, 64, 64)."""
    stack = np.stack([render(scene, rng) for scene in scenes])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """uint8 0..255 -> float32 -1..1."""
    return images.float() / 127.5 - 1


def token_ids(captions: list[str]) -> torch.Tensor:
    """Padded token ids: int64 (n, CAPTION_LENGTH). The bundled tokenizer gives the same (see bundle.py)."""
    ids = torch.zeros(len(captions), CAPTION_LENGTH, dtype=torch.long)
    for row, text in enumerate(captions):
        numbers = [WORD_TO_ID[word] for word in text.split()] + [1]
        ids[row, : len(numbers)] = torch.tensor(numbers)
    return ids


def captions_of(scenes: list[Scene]) -> list[str]:
    """The captions of some scenes."""
    return [caption(scene) for scene in scenes]
