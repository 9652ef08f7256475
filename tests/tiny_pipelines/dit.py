"""A `DiTPipeline` as published (classes with several names, DDIM), only smaller."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from tiny_models import _pipeline, _vae

LABELS = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 2: "great white shark, white shark"}


def tiny_dit() -> Any:
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=1000,  # the pipeline's class without a class is the 1000th
    )
    pipe = _pipeline(
        partial(DiTPipeline, id2label=LABELS),
        transformer=transformer,
        vae=_vae(scaling_factor=0.18215),
        scheduler=DDIMScheduler(clip_sample=False),
    )
    pipe.register_to_config(
        id2label=LABELS
    )  # as in the published index; the class itself would not save them
    return pipe
