"""Stage 1: the autoencoder, trained on rendered scenes; and stage 4: its decoder, refined."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from data import images_of, to_model_range, training_scenes
from diffusers import AutoencoderKL
from networks import build_vae

BATCH = 16
STEPS = 2600
POOL = 8192
LEARNING_RATE = 2e-3
# Weight of the (mean) KL term against the (mean) pixel errors: enough that the decoder forgives small errors.
KL_WEIGHT = 5e-4
# The decoder's second round (`refine_decoder`).
REFINE_STEPS = 1000
REFINE_RATE = 1.2e-3
REFINE_NOISE = 0.2  # largest standard deviation of the noise on the latents, whose own is about 1.1


def train_vae(work: Path, seed: int) -> None:
    """Train for STEPS batches and write ``work/vae``, with the scaling factor set to unit variance."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    pool = images_of(training_scenes(POOL, rng), rng)
    start = time.time()
    totals = np.zeros(3)
    for step in range(STEPS):
        warm_up = min(1.0, (step + 1) / 50)
        decay = 0.5 * (1 + np.cos(np.pi * step / STEPS))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm_up * decay + 1e-5
        images = to_model_range(pool[torch.randint(0, POOL, (BATCH,))])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            mean, log_variance = posterior.mean.float(), posterior.logvar.float()
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            decoded = vae.decode(latents).sample.float()
        error = decoded - images
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = error.abs().mean() + 4 * error.square().mean() + KL_WEIGHT * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        totals += error.detach().abs().mean().item(), error.detach().square().mean().item(), kl.item()
        if (step + 1) % 100 == 0:
            names = ("absolute_error", "squared_error", "kl")
            record = {"step": step + 1, **{k: round(v / 100, 5) for k, v in zip(names, totals, strict=True)}}
            print(json.dumps(record | {"seconds": round(time.time() - start)}), flush=True)
            totals[:] = 0
        if (step + 1) % 400 == 0:
            vae.save_pretrained(work / "vae")
    with torch.no_grad():
        latents = vae.encode(to_model_range(pool[:1024])).latent_dist.mean
    print(
        "latents per channel: mean", latents.mean((0, 2, 3)).tolist(), "std", latents.std((0, 2, 3)).tolist()
    )
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    vae.save_pretrained(work / "vae")


def refine_decoder(work: Path, seed: int) -> None:
    """Train the decoder alone for REFINE_STEPS more batches, on new scenes and noisy latents.

    The encoder, and so the latents that the transformer learns, stay as they are: this stage may run before or after
    the transformer's. The noise makes the decoder forgive the small errors of generated latents.
    """
    torch.manual_seed(seed + 3)
    rng = np.random.default_rng(seed + 3)
    vae = AutoencoderKL.from_pretrained(work / "vae").requires_grad_(False)
    vae.decoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        vae.decoder.parameters(), lr=REFINE_RATE, betas=(0.9, 0.99), weight_decay=0.0
    )
    images = images_of(training_scenes(POOL, rng), rng)
    latents = encode(vae, images) / vae.config.scaling_factor
    start, totals = time.time(), np.zeros(2)
    for step in range(REFINE_STEPS):
        rate = min(1.0, (step + 1) / 30) * 0.5 * (1 + np.cos(np.pi * step / REFINE_STEPS))
        for group in optimizer.param_groups:
            group["lr"] = REFINE_RATE * rate + 1e-5
        rows = torch.randint(0, POOL, (BATCH,))
        noise = REFINE_NOISE * torch.rand(BATCH, 1, 1, 1) * torch.randn(BATCH, *latents.shape[1:])
        with torch.autocast("cpu", torch.bfloat16):
            decoded = vae.decode(latents[rows] + noise).sample.float()
        error = decoded - to_model_range(images[rows])
        loss = error.abs().mean() + 4 * error.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        optimizer.step()
        totals += error.detach().abs().mean().item(), error.detach().square().mean().item()
        if (step + 1) % 100 == 0:
            names = ("absolute_error", "squared_error")
            record = {"step": step + 1, **{k: round(v / 100, 5) for k, v in zip(names, totals, strict=True)}}
            print(json.dumps(record | {"seconds": round(time.time() - start)}), flush=True)
            totals[:] = 0
    vae.save_pretrained(work / "vae-refined")


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor, batch: int = 64) -> torch.Tensor:
    """Scaled latents (n, 4, 16, 16) float32 of uint8 images (n, 3, 64, 64)."""
    parts = []
    for chunk in images.split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(to_model_range(chunk)).latent_dist.mean
        parts.append(mean.float() * vae.config.scaling_factor)
    return torch.cat(parts)
