"""A short `ecad search` on pixart-mini for every quality, offline: `python run.py FOLDER`.

For each quality one search, and the scorer's CPU time per image beside that of drawing an uncached image. Weights
that the published scorers would download are random ones (random_weights.py). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import random_weights
import torch
from diffusers import PixArtAlphaPipeline

from ecad.cli.main import app
from ecad.prompts import load_prompts
from ecad.resources import minis_dir
from ecad.scoring import as_quality, make_scorer
from ecad.scoring.scenes import parse_caption, render

SETTINGS = (
    "--model pixart-mini --generations 2 --population 4 --prompts-limit 4 --selection-limit 0 --heldout-limit 2 "
    "--batch-size 4 --threads 1 --device cpu"
)
BATCHES, BATCH_SIZE = 4, 4


def search(quality: str, out: Path) -> tuple[dict[str, Any], float]:
    """The report of a search by the command line, in this process, and its CPU seconds."""
    arguments = ["search", *SETTINGS.split(), "--quality", quality, "--out", str(out)]
    print("$", shlex.join(["ecad", *arguments]), file=sys.stderr, flush=True)
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        app(arguments, standalone_mode=False)
    seconds = time.process_time() - start
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report, seconds


def seconds_per_image(work: Callable[[slice], object]) -> float:
    """CPU seconds of one core, in the search's batches, after a first one that loads everything."""
    work(slice(0, BATCH_SIZE))
    start = time.process_time()
    for batch in range(1, BATCHES + 1):
        work(slice(batch * BATCH_SIZE, (batch + 1) * BATCH_SIZE))
    return (time.process_time() - start) / (BATCHES * BATCH_SIZE)


def front_of(report: dict[str, Any]) -> str:
    """How many schedules, and the range of their quality on the held-out prompts."""
    qualities = [row["quality"] for row in report["rows"] if row["kind"] == "front"]
    return f"{len(qualities)} | {min(qualities):.3f} to {max(qualities):.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    image_reward, clip, lpips = random_weights.write_all(folder / "weights")
    os.environ.update(
        ECAD_IMAGE_REWARD=str(image_reward),
        ECAD_LPIPS_BACKBONE=str(lpips),
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    clip_name = f"clip:{random_weights.CLIP_ARCHITECTURE}/{clip}"
    qualities = ["alignment", "rmse", "psnr", "ssim", "lpips", clip_name, "image-reward"]
    qualities.append("0.7*alignment+0.3*ssim")

    prompts = load_prompts("scenes-heldout", BATCH_SIZE * (BATCHES + 1)).prompts
    rng = np.random.default_rng(0)
    images, others = (np.stack([render(parse_caption(text), rng) for text in prompts]) for _ in range(2))
    pipe = PixArtAlphaPipeline.from_pretrained(minis_dir() / "pixart-mini")
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 20, "use_resolution_binning": False, "clean_caption": False}
    drawing = seconds_per_image(lambda batch: pipe(list(prompts[batch]), **options))
    print(f"Drawing an uncached image: {1000 * drawing:.0f} ms of one core.\n")
    print("| quality | schedules on the front | held-out quality | the search's CPU time, s |", end="")
    print(" scoring an image, ms | of drawing and scoring |\n|---|---:|---|---:|---:|---:|")
    for number, quality in enumerate(qualities):
        report, seconds = search(quality, folder / f"{number}")
        scorer = as_quality(make_scorer(quality, "cpu"), "cpu")
        scoring = seconds_per_image(
            lambda batch, scorer=scorer: scorer(prompts[batch], images[batch], others[batch])
        )
        name = quality.replace(str(clip), "FILE")
        print(
            f"| `{name}` | {front_of(report)} | {seconds:.0f} | {1000 * scoring:.1f} | "
            f"{scoring / (scoring + drawing):.1%} |",
            flush=True,
        )
