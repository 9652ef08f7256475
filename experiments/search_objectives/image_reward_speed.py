"""ImageReward in batches against one image at a time, as a ratio of CPU time; one core, random weights."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from random_weights import image_reward_folder

from ecad.scoring.image_reward.scorer import ImageRewardScorer

IMAGES = 8
REPEATS = 3


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 256, 256, 3), dtype=np.uint8)
    prompts = ["a red circle on a white background"] * IMAGES
    with tempfile.TemporaryDirectory() as folder:
        weights = str(image_reward_folder(Path(folder)))
        scorers = {size: ImageRewardScorer("cpu", weights, batch_size=size) for size in (1, IMAGES)}
        rewards = {
            size: scorer(prompts, images) for size, scorer in scorers.items()
        }  # loads the weights, too
    print(f"largest difference of a reward: {np.abs(rewards[1] - rewards[IMAGES]).max():.1e}")
    for _ in range(REPEATS):
        seconds = {}
        for size, scorer in scorers.items():
            start_s = time.process_time()
            scorer(prompts, images)
            seconds[size] = (time.process_time() - start_s) / IMAGES
        ratio = seconds[1] / seconds[IMAGES]
        print(
            f"{seconds[1]:.3f} s an image alone, {seconds[IMAGES]:.3f} s in a batch of {IMAGES}: {ratio:.2f}x",
            file=sys.stdout,
            flush=True,
        )


if __name__ == "__main__":
    main()
