"""Stage 3: the diffusion transformer, in the latents of stage 1, reading the frozen text encoder of stage 2."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from data import captions_of, images_of, token_ids, training_scenes
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from muon import Muon
from networks import build_scheduler, build_transformer
from train_vae import encode
from transformers import T5EncoderModel

BATCH = 96
# Latents encoded before the first step, and new ones encoded in every step: the pool grows, so that no scene is seen
# often, and most batches cost no encoding.
FIRST_POOL = 48_000
NEW_PER_STEP = 24
LARGEST_POOL = 400_000
CAPTION_DROPOUT = 0.1
MUON_RATE = 0.012
ADAMW_RATE = 1.5e-3
WARM_UP_STEPS = 50
DECAY_SHARE = 0.4  # the last share of the time budget, over which the rates fall to zero
EMA = 0.998
CHECKPOINT_S = 240.0


def train_transformer(work: Path, seed: int, minutes: float) -> None:
    """Train for a wall-clock budget and write ``work/transformer.pt``; resumes from it when it exists."""
    torch.manual_seed(seed + 2)
    rng = np.random.default_rng(seed + 2)
    vae = AutoencoderKL.from_pretrained(work / "vae").requires_grad_(False)
    text_encoder = T5EncoderModel.from_pretrained(work / "text_encoder").requires_grad_(False)
    transformer = build_transformer()
    # The classic processor: the fused attention's backward pass takes 44 % of a step on a CPU.
    transformer.set_attn_processor(AttnProcessor())
    matrices, rest = [], []
    for name, parameter in transformer.named_parameters():
        is_block_matrix = parameter.ndim == 2 and "transformer_blocks" in name and name.endswith("weight")
        (matrices if is_block_matrix else rest).append(parameter)
    muon = Muon(matrices)
    adamw = torch.optim.AdamW(rest, lr=ADAMW_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    parameters = list(transformer.parameters())
    average = [parameter.detach().clone() for parameter in parameters]
    step, spent_s = 0, 0.0
    checkpoint = work / "transformer.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        transformer.load_state_dict(state["transformer"])
        adamw.load_state_dict(state["adamw"])
        muon.averages, step, spent_s = state["muon"], state["step"], state["seconds"]
        average = [state["average"][name] for name, _ in transformer.named_parameters()]
        rng = np.random.default_rng(seed + 2 + step)  # new scenes rather than the same ones again
        torch.manual_seed(seed + 2 + step)

    def save(seconds: float) -> None:
        names = [name for name, _ in transformer.named_parameters()]
        state = {
            "transformer": transformer.state_dict(),
            "average": dict(zip(names, average, strict=True)),
            "adamw": adamw.state_dict(),
            "muon": muon.averages,
            "step": step,
            "samples": step * BATCH,
            "seconds": seconds,
        }
        part = checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(checkpoint)

    latents = torch.empty(LARGEST_POOL, 4, 16, 16)
    tokens = torch.zeros(LARGEST_POOL, token_ids([""]).shape[1], dtype=torch.long)
    filled = 0

    def grow(count: int) -> None:
        nonlocal filled
        count = min(count, LARGEST_POOL - filled)
        if count > 0:
            scenes = training_scenes(count, rng)
            latents[filled : filled + count] = encode(vae, images_of(scenes, rng))
            tokens[filled : filled + count] = token_ids(captions_of(scenes))
            filled += count

    start = time.time()
    for _ in range(0, FIRST_POOL, 2000):
        grow(2000)
    print(json.dumps({"pool": filled, "seconds": round(time.time() - start)}), flush=True)
    signal_share = build_scheduler().alphas_cumprod.float()
    signal, noise_level = signal_share.sqrt(), (1 - signal_share).sqrt()
    nothing = token_ids([""])[0]
    budget_s = minutes * 60
    start = time.time() - spent_s
    last_report, last_save = time.time(), time.time()
    loss_sums, loss_counts = np.zeros(5), np.zeros(5)
    while (share := (time.time() - start) / budget_s) < 1:
        rate = min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, (1 - share) / DECAY_SHARE)
        grow(NEW_PER_STEP)
        rows = torch.randint(0, filled, (BATCH,))
        # The newest scenes are always among them.
        rows[:NEW_PER_STEP] = torch.arange(filled - NEW_PER_STEP, filled)
        clean, words = latents[rows], tokens[rows]
        words[torch.rand(BATCH) < CAPTION_DROPOUT] = nothing
        mask = (words != 0).float()
        # Stratified times: every batch covers all noise levels evenly.
        times = ((torch.randperm(BATCH) + torch.rand(BATCH)) / BATCH * 1000).long().clamp(0, 999)
        noise = torch.randn_like(clean)
        a, s = signal[times].view(-1, 1, 1, 1), noise_level[times].view(-1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                hidden = text_encoder(input_ids=words, attention_mask=mask)[0]
            predicted = transformer(
                a * clean + s * noise,
                encoder_hidden_states=hidden,
                timestep=times,
                encoder_attention_mask=mask,
                return_dict=False,
            )[0]
        losses = (predicted.float() - (a * noise - s * clean)).square().mean((1, 2, 3))
        losses.mean().backward()
        muon.step(MUON_RATE * rate)
        for group in adamw.param_groups:
            group["lr"] = ADAMW_RATE * rate
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        keep = min(EMA, (1 + step) / (20 + step))
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], 1 - keep)
        step += 1
        np.add.at(loss_sums, (times // 200).numpy(), losses.detach().numpy())
        np.add.at(loss_counts, (times // 200).numpy(), 1)
        if step % 50 == 0:
            now = time.time()
            record = {
                "step": step,
                "seconds": round(now - start),
                "loss": round(loss_sums.sum() / loss_counts.sum(), 4),
                "by_time": [round(value, 4) for value in loss_sums / loss_counts],
                "rate": round(rate, 3),
                "images_per_s": round(50 * BATCH / (now - last_report)),
                "pool": filled,
            }
            print(json.dumps(record), flush=True)
            loss_sums[:], loss_counts[:], last_report = 0, 0, now
        if time.time() - last_save > CHECKPOINT_S:
            save(time.time() - start)
            last_save = time.time()
    save(time.time() - start)
    print(json.dumps({"done": step, "samples": step * BATCH, "scenes": filled}), flush=True)
