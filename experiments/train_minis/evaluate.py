"""The last stage: a mini's scores on held-out captions: uncached, cached in plain ways, with fewer steps."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, FluxPipeline
from PIL import Image

from ecad.families import family_of_transformer
from ecad.scoring.alignment import alignment_components

PROMPTS = Path(__file__).parents[2] / "calibration_prompts"
HELD_OUT = PROMPTS / "scenes-heldout.txt"
SEARCH = PROMPTS / "scenes-search.txt"
IMAGE_SIZE = 64
STEPS = 20
BATCH = 32
# Captions are at most 17 tokens; the default padding of 120 gives the same images and costs more time.
SEQUENCE_LENGTH = 24
PERIODS = (2, 3, 4, 5)
FEWER_STEPS = (10, 7, 5, 4)
GRID_COLUMNS = 8
TABLE_HEAD = (
    "run",
    "share of steps computed",
    "score",
    "drop",
    "object fit",
    "background",
    "objects all right",
    "PSNR to uncached, dB",
)


@contextlib.contextmanager
def every_nth_step(transformer: torch.nn.Module, period: int) -> Iterator[None]:
    """Recompute every component of all blocks every ``period``-th step only (FORA); else reuse their outputs.

    The components are those of the family in `ecad.families`; the caching is plain and independent of ecad's own on
    purpose, so that the two can be checked against each other.
    """
    state = {"step": -1}
    originals = []

    def count(*_: object) -> None:
        state["step"] += 1

    handle = transformer.register_forward_pre_hook(count)
    for block_list in family_of_transformer(type(transformer).__name__).block_lists:
        for block in getattr(transformer, block_list.name):
            for name in block_list.component_names:
                module = getattr(block, name)
                original = module.forward
                stored = {}

                def forward(*args, _original=original, _stored=stored, **kwargs):
                    if state["step"] % STEPS % period == 0:
                        _stored["output"] = _original(*args, **kwargs)
                    return _stored["output"]

                originals.append((module, original))
                module.forward = forward
    try:
        yield
    finally:
        handle.remove()
        for module, _ in originals:
            del module.forward


def settings_of(pipeline: DiffusionPipeline) -> dict[str, object]:
    """The arguments that this pipeline class needs for the minis' images of 64 x 64 pixels."""
    if isinstance(pipeline, FluxPipeline):
        return {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return {"negative_prompt": "", "use_resolution_binning": False, "clean_caption": False}


def generate(
    pipeline: DiffusionPipeline, captions: list[str], steps: int, guidance: float, first_seed: int = 0
) -> np.ndarray:
    """One image per caption, caption i from seed ``first_seed`` + i: uint8 (n, 64, 64, 3)."""
    images = []
    for start in range(0, len(captions), BATCH):
        chunk = captions[start : start + BATCH]
        seeds = range(first_seed + start, first_seed + start + len(chunk))
        output = pipeline(
            prompt=chunk,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            max_sequence_length=SEQUENCE_LENGTH,
            output_type="np",
            **settings_of(pipeline),
        )
        images.append((output.images * 255).round().astype(np.uint8))
    return np.concatenate(images)


def half_width(values: np.ndarray) -> float:
    """Half of the 95 % confidence interval of a mean (normal approximation)."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


def psnr(images: np.ndarray, reference: np.ndarray) -> float:
    """Mean over images of the peak signal-to-noise ratio to the reference, dB."""
    squared = ((images.astype(np.float64) - reference) ** 2).mean((1, 2, 3))
    return float(np.minimum(10 * np.log10(255**2 / np.maximum(squared, 1e-9)), 99).mean())


def save_grid(images: np.ndarray, path: Path) -> None:
    """The first rows of images in one picture, twice enlarged."""
    rows = min(len(images) // GRID_COLUMNS, 6)
    tiles = np.pad(images[: rows * GRID_COLUMNS], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=90)
    side = tiles.shape[1]
    grid = tiles.reshape(rows, GRID_COLUMNS, side, side, 3).transpose(0, 2, 1, 3, 4)
    picture = Image.fromarray(grid.reshape(rows * side, GRID_COLUMNS * side, 3))
    picture.resize((picture.width * 2, picture.height * 2), 0).save(path)


def table(rows: list[dict[str, float]]) -> str:
    """The rows as the table of the model cards."""
    lines = [
        "| " + " | ".join(TABLE_HEAD) + " |",
        "|" + "---|" * len(TABLE_HEAD),
    ]
    for number, row in enumerate(rows):
        drop = f"{row['drop']:.3f} +- {row['drop_95']:.3f}" if number else ""
        noise = f"{row['psnr_db']:.1f}" if number else ""
        lines.append(
            f"| {row['run']} | {row['share']:.2f} | {row['score']:.3f} +- {row['score_95']:.3f} | {drop} "
            f"| {row['objects']:.3f} | {row['background']:.3f} | {row['good_share']:.2f} | {noise} |"
        )
    return "\n".join(lines) + "\n"


def evaluate(
    bundle: Path,
    work: Path,
    image_count: int,
    guidances: list[float],
    uncached_only: bool = False,
    first_seed: int = 0,
    prompts: Path = HELD_OUT,
) -> None:
    """Print one row per way of running and write ``work/evaluation.json`` and picture grids.

    The other rows use the first guidance scale. Any other first seed than 0 is part of the files' names.
    """
    torch.set_grad_enabled(False)
    pipeline = DiffusionPipeline.from_pretrained(bundle)
    pipeline.set_progress_bar_config(disable=True)
    captions = prompts.read_text().splitlines()[:image_count]
    label = f"-seed{first_seed}" if first_seed else ""
    runs = [(f"uncached, guidance {scale:g}", STEPS, None, scale) for scale in guidances]
    if not uncached_only:
        runs += [(f"fora:{period}", STEPS, period, guidances[0]) for period in PERIODS]
        runs += [(f"uncached, {steps} steps", steps, None, guidances[0]) for steps in FEWER_STEPS]
    rows = []
    reference = reference_scores = None
    for name, steps, period, guidance in runs:
        start = time.time()
        caching = contextlib.nullcontext() if period is None else every_nth_step(pipeline.transformer, period)
        with caching:
            images = generate(pipeline, captions, steps, guidance, first_seed)
        seconds = (time.time() - start) / len(captions)
        parts = alignment_components(captions, images)
        scores = parts["score"]
        if reference is None:
            reference, reference_scores = images, scores
        drop = reference_scores - scores
        row = {
            "run": name,
            "share": -(-steps // (period or 1)) / STEPS,
            "score": round(float(scores.mean()), 4),
            "score_95": round(half_width(scores), 4),
            "drop": round(float(drop.mean()), 4),
            "drop_95": round(half_width(drop), 4),
            **{key: round(float(value.mean()), 3) for key, value in parts.items() if key != "score"},
            "good_share": round(float((parts["worst_object"] > 0.5).mean()), 3),
            "psnr_db": round(psnr(images, reference), 1),
            "s_per_image": round(seconds, 3),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        save_grid(images, work / f"grid{label}-{len(rows)}.png")
    (work / f"evaluation{label}.json").write_text(json.dumps(rows, indent=1) + "\n")
    (work / f"evaluation{label}.md").write_text(table(rows))
