"""Prints what the published schedules need in memory, as Markdown: `python measure.py FOLDER`.

FOLDER holds the official implementation's schedules (flux_256/ours_fast.json, ...). No GPU and no weights are needed.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging
from full_size import build, build_text_encoders, build_vae, dtype_of, latents_of, weight_bytes
from live_bytes import FusedAttention, LiveBytes, keep_everything
from torch import nn

import ecad
from ecad.families.registry import family_of_transformer
from ecad.measuring.macs import component_output_values, dead_macs, schedule_macs, stored_bytes
from ecad.schedule import Schedule, ScheduleShape, heuristic

CASES = (  # model, official file or heuristic
    ("flux-dev", "flux_256/ours_fast.json"),
    ("flux-dev", "fora:3"),
    ("flux-dev-1024", "flux_256_to_1024/fast_256_to_1024.json"),
    ("flux-dev-1024", "fora:3"),
    ("pixart-alpha", "pixart_alpha_256/ours_fast.json"),
    ("pixart-alpha", "pixart_alpha_256/ours_faster.json"),
    ("pixart-alpha-1024", "pixart_alpha_256/ours_fast.json"),
    ("pixart-sigma", "pixart_sigma_256/ours_fast.json"),
)
STEPS = 20
MIB = 2**20
GB = 10**9
GPU_BYTES = 47 * GB  # of a 48 GB GPU: CUDA itself takes some 0.5 GB, rounding and gaps of the allocator more
BLANK_BYTES = (
    1024  # more than all stand-ins of unread outputs together: one number for each component that feeds
)


@dataclass(frozen=True)
class Measured:
    """Bytes of one denoising run, weights and inputs not counted: the most, and what is held after each step."""

    peak: int
    after_steps: np.ndarray


def denoise(
    transformer: nn.Module, inputs: dict[str, Any], schedule: Schedule | None, *, keeps_all: bool = False
) -> Measured:
    """All steps of a call; without a schedule two, which are alike."""
    held = []
    with keep_everything() if keeps_all else nullcontext():
        handle = None if schedule is None else ecad.apply(transformer, schedule)
        try:
            with torch.no_grad(), FusedAttention(), LiveBytes() as memory:
                for _ in range(2 if schedule is None else schedule.steps):
                    transformer(**inputs, return_dict=False)
                    held.append(memory.current)
        finally:
            if handle is not None:
                handle.remove()
    return Measured(memory.peak, np.array(held))


def load(folder: Path, name: str, transformer: nn.Module) -> Schedule:
    if name.endswith(".json"):
        return ecad.load_schedule(folder / name)
    spec = family_of_transformer(type(transformer).__name__)
    blocks = {block: len(getattr(transformer, block)) for block in spec.block_list_names}
    return heuristic(name, ScheduleShape(spec.name, STEPS, blocks))


def print_activations(folder: Path) -> None:
    print("| model | schedule | stored, most | mean | everything kept | ", end="")
    print("allocated: uncached | with the schedule | everything kept | weights |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, file in CASES:
        transformer, inputs, workload = build(name, images=1)
        schedule = load(folder, file, transformer)
        predicted = stored_bytes(schedule, workload, dtype_of(name).itemsize)
        uncached = denoise(transformer, inputs, None)
        freed = denoise(transformer, inputs, schedule)
        kept = denoise(transformer, inputs, schedule, keeps_all=True)
        difference = freed.after_steps - uncached.after_steps[0] - predicted
        if (difference < 0).any() or (difference > BLANK_BYTES).any():
            raise SystemExit(
                f"{name}, {file}: after each step {difference} bytes more than predicted are held"
            )
        everything = kept.after_steps.max() - uncached.after_steps[0]
        figures = [predicted.max(), predicted.mean(), everything, uncached.peak, freed.peak, kept.peak]
        figures.append(weight_bytes(transformer))
        cells = " | ".join(f"{figure / MIB:,.0f}" for figure in figures)
        print(f"| {name} | {file.removesuffix('.json')} | {cells} |", flush=True)


def print_macs(folder: Path) -> None:
    print("\n| model | schedule | MACs, everything computed | of these nobody reads |")
    print("|---|---|---:|---:|")
    for name, file in CASES:
        if not name.startswith("flux"):  # PixArt's components are all read at once
            continue
        transformer, _, workload = build(name, images=1)
        schedule = load(folder, file, transformer)
        dead = dead_macs(schedule, workload)
        computed = schedule_macs(schedule, workload) + dead
        print(f"| {name} | {file.removesuffix('.json')} | {computed / 1e12:,.2f} T | {dead / 1e12:,.2f} T |")


def print_budget() -> None:
    """One 48 GB GPU: the weights, and what a batch needs in the worst case, in GB = 10^9 bytes."""
    modules = build_text_encoders()
    encoders = {part: weight_bytes(module) for part, module in modules.items()}
    encoders["T5-XXL's activations, 8 prompts"] = encode(modules["T5-XXL encoder"], prompts=8)
    weights = {
        "transformer": weight_bytes(build("flux-dev", 1)[0]),
        "VAE": weight_bytes(build_vae("flux-dev")),
        "embeddings of 100 prompts": 100 * 512 * 4096 * 2,
    }
    print("\n| weights and embeddings | GB |\n|---|---:|")
    for part, size in {**weights, **encoders}.items():
        print(f"| {part} | {size / GB:.2f} |")
    held = sum(weights.values())
    print(f"| while prompts are encoded | {(held + sum(encoders.values())) / GB:.1f} |")
    print(f"| afterwards | {held / GB:.1f} |")
    print(
        "\n| model | images | denoising, uncached | everything kept besides | VAE | in all, most | of 48 GB |"
    )
    print("|---|---:|---:|---:|---:|---:|---|")
    for name, batches in (("flux-dev", (1, 4, 8, 16, 17)), ("flux-dev-1024", (1, 2, 3))):
        for images in batches:
            transformer, inputs, workload = build(name, images)
            activations = denoise(transformer, inputs, None).peak
            values = component_output_values(workload)
            stored = (
                images
                * 2
                * sum(
                    len(getattr(transformer, block_list)) * count for (block_list, _), count in values.items()
                )
            )
            decoding = decode(name, images)
            total = held + max(activations + stored, decoding)
            cells = " | ".join(f"{size / GB:.2f}" for size in (activations, stored, decoding))
            fits = "fits" if total < GPU_BYTES else "too much"
            print(f"| {name} | {images} | {cells} | {total / GB:.1f} | {fits} |", flush=True)


def encode(encoder: nn.Module, prompts: int) -> int:
    tokens = torch.empty(prompts, 512, dtype=torch.long, device="meta")
    with torch.no_grad(), FusedAttention(), LiveBytes() as memory:
        encoder(tokens)
    return memory.peak


def decode(name: str, images: int) -> int:
    """Bytes that the VAE allocates at most; the stored outputs are gone by then."""
    vae, latents = build_vae(name), latents_of(name, images)
    with torch.no_grad(), FusedAttention(), LiveBytes() as memory:
        vae.decode(latents, return_dict=False)
    return memory.peak


if __name__ == "__main__":
    logging.set_verbosity_error()  # `to` warns about an empty list of modules
    print_activations(Path(sys.argv[1]))
    print_macs(Path(sys.argv[1]))
    print_budget()
