"""Stage 2 of flux-mini: the diffusion transformer, as a rectified flow with guidance inside the weights.

FLUX runs one forward pass a step, so guidance must be learnt. The transformer is told a guidance scale w; at w = 1 it
learns the plain flow. After a share of the budget half of each batch learns "model guidance" (Tang et al. 2025,
arXiv 2502.12154) at random w: the target is the flow plus (w - 1) (v(caption) - v(nothing)), where v is the moving
average's own prediction at w = 1. In expectation that is classifier-free guidance of scale w.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from data import captions_of, images_of, training_scenes
from diffusers import AutoencoderKL
from flux_networks import (
    ClassicFluxAttention,
    build_flux_transformer,
    image_ids,
    is_modulation,
    pack,
    text_ids,
)
from flux_text import caption_ids, load_clip_tokenizer
from muon import Muon
from train_vae import encode
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

BATCH = 96
# As for pixart-mini: latents encoded before the first step, and new ones in every step.
FIRST_POOL = 16_000
NEW_PER_STEP = 24
LARGEST_POOL = 200_000
CAPTION_DROPOUT = 0.1
GUIDANCE_FROM = 0.45  # the share of the budget after which guidance is learnt
HIGHEST_GUIDANCE = 4.0
MUON_RATE = 0.012
ADAMW_RATE = 1.5e-3
WARM_UP_STEPS = 50
DECAY_SHARE = 0.4  # the last share of the time budget, over which the rates fall to zero
EMA = 0.998
CHECKPOINT_S = 180.0


class TextReader:
    """The two frozen text encoders: captions' ids -> what the transformer reads."""

    def __init__(self, work: Path, pixart: Path):
        self.tokenizer = load_clip_tokenizer(work / "tokenizer")
        self.tokenizer_2 = AutoTokenizer.from_pretrained(pixart / "tokenizer")
        self.clip = CLIPTextModel.from_pretrained(work / "text_encoder").requires_grad_(False).eval()
        self.t5 = T5EncoderModel.from_pretrained(pixart / "text_encoder").requires_grad_(False).eval()

    def ids(self, captions: list[str]) -> torch.Tensor:
        """int64 (n, 2, 24): CLIP's and T5's token ids."""
        return torch.stack(
            [caption_ids(captions, self.tokenizer), caption_ids(captions, self.tokenizer_2)], 1
        )

    @torch.no_grad()
    def read(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States float32 (n, 24, 128) and pooled outputs (n, 64)."""
        states = self.t5(input_ids=ids[:, 1])[0]
        return states, self.clip(input_ids=ids[:, 0]).pooler_output


def learning_rate_factor(step: int, share: float) -> float:
    """Warm-up over steps, then constant, then linearly to zero over the last share of the budget."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, (1 - share) / DECAY_SHARE)


def noise_levels(count: int) -> torch.Tensor:
    """Logit-normal noise levels in (0, 1), stratified: every batch covers the distribution evenly."""
    places = (torch.randperm(count) + torch.rand(count)) / count
    return torch.special.ndtri(places.clamp(1e-4, 1 - 1e-4)).sigmoid()


def train_flux_transformer(work: Path, pixart: Path, seed: int, minutes: float) -> None:
    """Train for a wall-clock budget and write ``work/transformer.pt``; resumes from it when it exists."""
    torch.manual_seed(seed + 12)
    rng = np.random.default_rng(seed + 12)
    vae = AutoencoderKL.from_pretrained(pixart / "vae").requires_grad_(False)
    reader = TextReader(work, pixart)
    transformer = build_flux_transformer()
    transformer.set_attn_processor(ClassicFluxAttention())
    matrices, rest = [], []
    for name, parameter in transformer.named_parameters():
        in_block = parameter.ndim == 2 and "transformer_blocks" in name and name.endswith("weight")
        (matrices if in_block and not is_modulation(name) else rest).append(parameter)
    muon = Muon(matrices)
    adamw = torch.optim.AdamW(rest, lr=ADAMW_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    parameters = list(transformer.parameters())
    average = copy.deepcopy(transformer).requires_grad_(False)
    averages = list(average.parameters())
    step, spent_s, samples = 0, 0.0, 0
    checkpoint = work / "transformer.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        transformer.load_state_dict(state["transformer"])
        average.load_state_dict(state["average"])
        adamw.load_state_dict(state["adamw"])
        muon.averages, step, spent_s, samples = (state[k] for k in ("muon", "step", "seconds", "samples"))
        rng = np.random.default_rng(seed + 12 + step)  # new scenes rather than the same ones again
        torch.manual_seed(seed + 12 + step)

    def save(seconds: float) -> None:
        state = {
            "transformer": transformer.state_dict(),
            "average": average.state_dict(),
            "adamw": adamw.state_dict(),
            "muon": muon.averages,
            "step": step,
            "samples": samples,
            "scenes": filled,
            "seconds": seconds,
        }
        part = checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(checkpoint)

    latents = torch.empty(LARGEST_POOL, 4, 16, 16)
    tokens = torch.zeros(LARGEST_POOL, *reader.ids([""]).shape[1:], dtype=torch.long)
    filled = 0

    def grow(count: int) -> None:
        nonlocal filled
        count = min(count, LARGEST_POOL - filled)
        if count > 0:
            scenes = training_scenes(count, rng)
            latents[filled : filled + count] = encode(vae, images_of(scenes, rng))
            tokens[filled : filled + count] = reader.ids(captions_of(scenes))
            filled += count

    start = time.time()
    for _ in range(0, FIRST_POOL, 2000):
        grow(2000)
    print(json.dumps({"pool": filled, "seconds": round(time.time() - start)}), flush=True)
    nothing = reader.ids([""])[0]
    positions = {"img_ids": image_ids(), "txt_ids": text_ids(), "return_dict": False}

    def predict(network, noisy, levels, guidance, states, pooled) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(
                hidden_states=noisy,
                timestep=levels,
                guidance=guidance,
                encoder_hidden_states=states,
                pooled_projections=pooled,
                **positions,
            )[0].float()

    half = BATCH // 2
    budget_s = minutes * 60
    start = time.time() - spent_s
    last_report, last_save = time.time(), time.time()
    loss_sums, loss_counts = np.zeros(5), np.zeros(5)
    while (share := (time.time() - start) / budget_s) < 1:
        rate = learning_rate_factor(step, share)
        grow(NEW_PER_STEP)
        rows = torch.randint(0, filled, (BATCH,))
        # The newest scenes are always among them.
        rows[-NEW_PER_STEP:] = torch.arange(filled - NEW_PER_STEP, filled)
        clean, words = pack(latents[rows]), tokens[rows]
        guided = share >= GUIDANCE_FROM
        # Guided samples keep their captions; the plain half forgets twice as many, so the share is the same.
        dropped = torch.rand(BATCH) < CAPTION_DROPOUT * (2 if guided else 1)
        dropped[: half if guided else 0] = False
        words[dropped] = nothing
        levels, noise = noise_levels(BATCH), torch.randn_like(clean)
        level = levels.view(-1, 1, 1)
        noisy, target = (1 - level) * clean + level * noise, noise - clean
        guidance = torch.ones(BATCH)
        states, pooled = reader.read(words)
        if guided:
            # Stratified and in random order, as the noise levels are.
            places = (torch.randperm(half) + torch.rand(half)) / half
            guidance[:half] += (HIGHEST_GUIDANCE - 1) * places
            no_states, no_pooled = (part.expand(half, *part.shape[1:]) for part in reader.read(nothing[None]))
            with torch.no_grad():
                with_caption, without = predict(
                    average,
                    noisy[:half].repeat(2, 1, 1),
                    levels[:half].repeat(2),
                    torch.ones(BATCH),
                    torch.cat([states[:half], no_states]),
                    torch.cat([pooled[:half], no_pooled]),
                ).chunk(2)
            target[:half] += (guidance[:half] - 1).view(-1, 1, 1) * (with_caption - without)
        predicted = predict(transformer, noisy, levels, guidance, states, pooled)
        losses = (predicted - target).square().mean((1, 2))
        losses.mean().backward()
        muon.step(MUON_RATE * rate)
        for group in adamw.param_groups:
            group["lr"] = ADAMW_RATE * rate
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        keep = min(EMA, (1 + step) / (20 + step))
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1 - keep)
        step, samples = step + 1, samples + BATCH
        plain = slice(half if guided else 0, None)
        np.add.at(loss_sums, (levels[plain] * 5).long().numpy(), losses.detach()[plain].numpy())
        np.add.at(loss_counts, (levels[plain] * 5).long().numpy(), 1)
        if step % 50 == 0:
            now = time.time()
            record = {
                "step": step,
                "seconds": round(now - start),
                "loss": round(loss_sums.sum() / loss_counts.sum(), 4),
                "by_level": [round(value, 4) for value in loss_sums / loss_counts.clip(1)],
                "rate": round(rate, 3),
                "guided": guided,
                "images_per_s": round(50 * BATCH / (now - last_report)),
                "pool": filled,
            }
            print(json.dumps(record), flush=True)
            loss_sums[:], loss_counts[:], last_report = 0, 0, now
        if time.time() - last_save > CHECKPOINT_S:
            save(time.time() - start)
            last_save = time.time()
    save(time.time() - start)
    print(json.dumps({"done": step, "samples": samples, "scenes": filled}), flush=True)
