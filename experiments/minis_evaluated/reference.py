"""Draws the reference set for `fid` and `kid` on the minis: `python reference.py FOLDER`.

The scenes renderer paints every caption of a prompt set several times, each time at another random placement of the
objects. These are samples of the distribution that the minis were trained to draw from, for exactly the captions that
they are evaluated on, so the distance tells how far a model's images are from correct drawings, not how two samples
of captions differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from ecad.prompts import load_prompts
from ecad.scoring.scenes import parse_caption, render

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", default="scenes-heldout")
    parser.add_argument("--prompts-limit", type=int)
    parser.add_argument("--per-prompt", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    for number, prompt in enumerate(load_prompts(options.prompts, options.prompts_limit).prompts):
        scene = parse_caption(prompt)
        for copy in range(options.per_prompt):
            Image.fromarray(render(scene, rng)).save(options.folder / f"{number:03d}-{copy}.png")
