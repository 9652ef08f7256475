"""Stage 1 of flux-mini: the CLIP text encoder, trained to tell all of a caption in its pooled output, then frozen.

FLUX reads a caption twice: word by word through T5, which flux-mini shares with pixart-mini, and its gist through CLIP.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from data import captions_of, training_scenes
from flux_networks import POOLED_WIDTH, TEXT_LENGTH, build_clip
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTokenizer

from ecad.scoring.scenes import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES, Scene, vocabulary

BATCH = 128
POOL = 40_000
CLIP_STEPS, CLIP_RATE = 1600, 2e-3
START, END = "<|startoftext|>", "<|endoftext|>"
RELATIONS = ("left of", "right of", "above", "below")


def write_clip_vocabulary(folder: Path) -> None:
    """`vocab.json` and `merges.txt`: letters, and merges that make each of the world's words one token.

    As in CLIP's own vocabulary, the last two ids start and end a text.
    """
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(list(vocabulary()), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].get)
    tokens += [token for letter in letters if (token := letter + "</w>") not in learnt["vocab"]]
    ids = {token: number for number, token in enumerate([*tokens, START, END])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(ids) + "\n")
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in learnt["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]) + "\n")


def load_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of the vocabulary in ``folder``."""
    return CLIPTokenizer.from_pretrained(folder, model_max_length=TEXT_LENGTH)


def caption_ids(captions: list[str], tokenizer) -> torch.Tensor:
    """Token ids int64 (n, 24), padded as `FluxPipeline` pads them."""
    return tokenizer(captions, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt").input_ids


def caption_labels(scenes: list[Scene]) -> torch.Tensor:
    """What the pooled output should tell: int64 (n, 10); -100 for the second object where there is none.

    The columns are size, colour, pattern, shape of the first and of the second object, relation, background.
    """
    labels = np.full((len(scenes), 10), -100)
    for row, scene in enumerate(scenes):
        for number, item in enumerate(scene.objects):
            labels[row, 4 * number : 4 * number + 4] = (
                SIZES.index(item.size),
                list(COLOURS).index(item.colour),
                PATTERNS.index(item.pattern),
                SHAPES.index(item.shape),
            )
        labels[row, 8] = 4 if scene.relation is None else RELATIONS.index(scene.relation)
        labels[row, 9] = list(BACKGROUNDS).index(scene.background)
    return torch.from_numpy(labels)


def train_flux_text(work: Path, seed: int) -> None:
    """Write ``work/text_encoder`` and ``work/tokenizer``, both CLIP's."""
    torch.manual_seed(seed + 11)
    rng = np.random.default_rng(seed + 11)
    scenes = training_scenes(POOL, rng)
    captions = captions_of(scenes)
    write_clip_vocabulary(work / "tokenizer")
    tokenizer = load_clip_tokenizer(work / "tokenizer")
    ids, labels = caption_ids(captions, tokenizer), caption_labels(scenes)
    encoder = build_clip(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    classes = [len(SIZES), len(COLOURS), len(PATTERNS), len(SHAPES)] * 2
    heads = nn.ModuleList([nn.Linear(POOLED_WIDTH, count) for count in [*classes, 5, len(BACKGROUNDS)]])

    def losses(rows: torch.Tensor) -> list[torch.Tensor]:
        pooled = encoder(input_ids=ids[rows]).pooler_output
        return [
            nn.functional.cross_entropy(head(pooled), labels[rows][:, axis], ignore_index=-100)
            for axis, head in enumerate(heads)
        ]

    _train([*encoder.parameters(), *heads.parameters()], losses, CLIP_STEPS, CLIP_RATE)
    encoder.save_pretrained(work / "text_encoder")


def _train(parameters: list[nn.Parameter], losses, steps: int, highest_rate: float) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=highest_rate, betas=(0.9, 0.98), weight_decay=0.0)
    start = time.time()
    for step in range(steps):
        rate = highest_rate * min(1.0, (step + 1) / 30) * min(1.0, (steps - step) / (0.4 * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts = losses(torch.randint(0, POOL, (BATCH,)))
        optimizer.zero_grad(set_to_none=True)
        sum(parts).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step == 0 or (step + 1) % 100 == 0:
            record = {"step": step + 1, "losses": [round(loss.item(), 4) for loss in parts]}
            print(json.dumps(record | {"seconds": round(time.time() - start)}), flush=True)
