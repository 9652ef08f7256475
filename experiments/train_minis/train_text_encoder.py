"""Stage 2: the text encoder. Every word of an object learns to tell all that the caption says of its object.

Without this stage the transformer binds colours and shapes to the wrong objects for a long time. The auxiliary heads
are thrown away afterwards and the encoder is frozen.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from data import CAPTION_LENGTH, captions_of, token_ids, training_scenes
from networks import WIDTH, build_text_encoder
from torch import nn

from ecad.scoring.scenes import COLOURS, PATTERNS, SHAPES, SIZES, Scene

BATCH = 128
STEPS = 2000
POOL = 60_000
LEARNING_RATE = 2e-3
# T5 starts its relative position bias small and slow: all words look alike wherever they stand. Noise and a
# higher rate cure that.
POSITION_NOISE = 0.5
POSITION_RATE = 15.0

PLACES = ("left", "right", "above", "below", "centre")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
HEADS = (len(PLACES), len(SIZES), len(COLOURS), len(PATTERNS), len(SHAPES))


def word_labels(scenes: list[Scene]) -> torch.Tensor:
    """What each word of an object should tell: int64 (n, CAPTION_LENGTH, 5), -100 where a word tells nothing.

    The last axis is place, size, colour, pattern, shape of the word's object.
    """
    labels = np.full((len(scenes), CAPTION_LENGTH, len(HEADS)), -100)
    for row, scene in enumerate(scenes):
        place = "centre" if scene.relation is None else scene.relation.split()[0]
        start = 0
        for item in scene.objects:
            words = len(item.describe().split())
            labels[row, start : start + words] = (
                PLACES.index(place),
                SIZES.index(item.size),
                list(COLOURS).index(item.colour),
                PATTERNS.index(item.pattern),
                SHAPES.index(item.shape),
            )
            if scene.relation is not None:
                start += words + len(scene.relation.split())
                place = OPPOSITE[place]
    return torch.from_numpy(labels)


def train_text_encoder(work: Path, seed: int) -> None:
    """Train for STEPS batches and write ``work/text_encoder``."""
    torch.manual_seed(seed + 1)
    rng = np.random.default_rng(seed + 1)
    scenes = training_scenes(POOL, rng)
    ids, labels = token_ids(captions_of(scenes)), word_labels(scenes)
    encoder = build_text_encoder()
    heads = nn.ModuleList([nn.Linear(WIDTH, classes) for classes in HEADS])
    position = [p for name, p in encoder.named_parameters() if "relative_attention_bias" in name]
    with torch.no_grad():
        for parameter in position:
            parameter.add_(torch.randn_like(parameter) * POSITION_NOISE)
    known = {id(parameter) for parameter in position}
    everything = [*encoder.parameters(), *heads.parameters()]
    others = [parameter for parameter in everything if id(parameter) not in known]
    groups = [{"params": others, "factor": 1.0}, {"params": position, "factor": POSITION_RATE}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    start = time.time()
    for step in range(STEPS):
        rate = LEARNING_RATE * min(1.0, (step + 1) / 30) * min(1.0, (STEPS - step) / (0.4 * STEPS))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        rows = torch.randint(0, POOL, (BATCH,))
        hidden = encoder(input_ids=ids[rows], attention_mask=(ids[rows] != 0).float())[0]
        losses = [
            nn.functional.cross_entropy(
                head(hidden).flatten(0, 1), labels[rows][..., axis].flatten(), ignore_index=-100
            )
            for axis, head in enumerate(heads)
        ]
        optimizer.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(everything, 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            record = {"step": step + 1, "losses": [round(loss.item(), 4) for loss in losses]}
            print(json.dumps(record | {"seconds": round(time.time() - start)}), flush=True)
    encoder.save_pretrained(work / "text_encoder")
