"""Stage 3 of flux-mini: put the trained parts together as a `FluxPipeline` folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from bundle import save_bundle
from diffusers import AutoencoderKL, FluxPipeline
from flux_networks import build_flux_scheduler, build_flux_transformer
from flux_text import load_clip_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel


def write_flux_bundle(work: Path, pixart: Path, folder: Path, shift: float) -> None:
    """Write flux-mini with the averaged transformer weights of ``work/transformer.pt``."""
    state = torch.load(work / "transformer.pt")
    transformer = build_flux_transformer()
    transformer.load_state_dict(state["average"])
    vae = AutoencoderKL.from_pretrained(pixart / "vae")
    vae.register_to_config(shift_factor=0.0)  # FluxPipeline adds it
    pipeline = FluxPipeline(
        scheduler=build_flux_scheduler(shift),
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(work / "text_encoder"),
        tokenizer=load_clip_tokenizer(work / "tokenizer"),
        text_encoder_2=T5EncoderModel.from_pretrained(pixart / "text_encoder"),
        tokenizer_2=AutoTokenizer.from_pretrained(pixart / "tokenizer"),
        transformer=transformer,
    )
    save_bundle(pipeline, folder)
    # transformers 5 writes a file that transformers 4 does not read for CLIP; both read what CLIP is published with.
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(work / "tokenizer" / name, folder / "tokenizer" / name)
    _prefix_clip_weights(folder / "text_encoder" / "model.safetensors")
    print(
        f"{state['samples']} samples of {state['scenes']} scenes seen in {state['seconds'] / 60:.0f} minutes"
    )


def _prefix_clip_weights(path: Path) -> None:
    """Name the weights as published CLIP checkpoints do: transformers 4 and 5 both read that."""
    prefix = "text_model."
    weights = {prefix + name.removeprefix(prefix): weight for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)
