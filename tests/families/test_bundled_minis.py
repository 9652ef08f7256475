"""The minis that ship with ecad: complete, small, and loadable by diffusers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecad.families import BUNDLED, PRESETS
from ecad.resources import minis_dir
from ecad.scoring.scenes import vocabulary

PARTS = {
    "pixart-mini": {
        "text_encoder": "T5EncoderModel",
        "transformer": "PixArtTransformer2DModel",
        "vae": "AutoencoderKL",
        "scheduler": "DPMSolverMultistepScheduler",
    },
    "flux-mini": {
        "text_encoder": "CLIPTextModel",
        "tokenizer": "CLIPTokenizer",
        "text_encoder_2": "T5EncoderModel",
        "transformer": "FluxTransformer2DModel",
        "vae": "AutoencoderKL",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    },
}
CAPTION = "a large red striped circle left of a small blue square on a gray background"
MEGABYTE = 1_000_000


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def flux_mini() -> Any:
    from diffusers import FluxPipeline

    pipeline = FluxPipeline.from_pretrained(minis_dir() / "flux-mini")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_every_mini_is_described_here() -> None:
    assert set(PARTS) == set(BUNDLED)


def test_all_minis_together_stay_small() -> None:
    assert size_of(minis_dir()) < 25 * MEGABYTE
    assert size_of(minis_dir() / "flux-mini") < 12 * MEGABYTE


@pytest.mark.parametrize("name", BUNDLED)
def test_diffusers_loads_it_with_its_own_classes(name: str) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(minis_dir() / name)
    assert type(pipeline).__name__ == PRESETS[name].pipeline_class
    assert {part: type(getattr(pipeline, part)).__name__ for part in PARTS[name]} == PARTS[name]
    assert str(pipeline.transformer.dtype) == "torch.float32"


def test_flux_mini_has_what_its_pipeline_needs(flux_mini: Any) -> None:
    config = flux_mini.transformer.config
    assert (config.num_layers, config.num_single_layers) == (3, 5)
    assert config.guidance_embeds
    assert sum(config.axes_dims_rope) == config.attention_head_dim
    assert config.in_channels == 4 * flux_mini.vae.config.latent_channels
    assert config.joint_attention_dim == flux_mini.text_encoder_2.config.d_model
    assert config.pooled_projection_dim == flux_mini.text_encoder.config.hidden_size
    assert flux_mini.vae.config.shift_factor == 0.0  # None, the default, cannot be added
    assert flux_mini.vae_scale_factor == PRESETS["flux-mini"].vae_scale_factor
    assert not flux_mini.scheduler.config.use_dynamic_shifting


def test_every_word_is_one_token_of_both_tokenizers(flux_mini: Any) -> None:
    length = PRESETS["flux-mini"].max_sequence_length
    assert flux_mini.tokenizer.model_max_length == length
    for tokenizer in (flux_mini.tokenizer, flux_mini.tokenizer_2):
        pieces = [tokenizer.tokenize(word) for word in vocabulary()]
        assert [len(piece) for piece in pieces] == [1] * len(pieces)
        assert len({piece[0] for piece in pieces}) == len(pieces)


def test_flux_mini_paints_its_caption(flux_mini: Any) -> None:
    import torch

    from ecad.scoring.alignment import alignment_scores

    preset = PRESETS["flux-mini"]
    images = flux_mini(
        CAPTION,
        num_inference_steps=preset.steps,
        guidance_scale=preset.guidance_scale,
        height=preset.height,
        width=preset.width,
        max_sequence_length=preset.max_sequence_length,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    images = (images * 255).round().astype(np.uint8)
    assert alignment_scores([CAPTION], images)[0] > 0.8
    wrong = CAPTION.replace("red", "green").replace("circle", "cross")
    assert alignment_scores([wrong], images)[0] < 0.6
