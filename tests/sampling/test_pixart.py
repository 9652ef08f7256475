"""Our own denoising loop gives the pipeline's images, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_pixart

import ecad
from ecad.errors import ConfigError
from ecad.families import find_model, get_family
from ecad.sampling.base import Job, batches_of, jobs_for
from ecad.sampling.generation import GenerationSettings, settings_for
from ecad.sampling.loading import LoadedModel, load_model
from ecad.sampling.samplers import make_sampler
from ecad.schedule import ScheduleShape, heuristic

STEPS = 6
PROMPTS = ["a large red circle", "a small blue square above a red circle", "a green cross"]
JOBS = [Job(0, 11), Job(1, 12), Job(2, 13)]


def settings(**changes: Any) -> GenerationSettings:
    values = {"steps": STEPS, "guidance_scale": 4.0, "height": 16, "width": 16, "max_sequence_length": 12}
    return GenerationSettings(**{**values, **changes})


def sampler_of(pipe: Any, folder: Path, **changes: Any) -> Any:
    model = LoadedModel(find_model(str(folder)), get_family("pixart"), pipe, torch.device("cpu"))
    return make_sampler(model, settings(**changes))


def pipeline_images(pipe: Any, prompts: list[str], seeds: list[int], **changes: Any) -> np.ndarray:
    wanted = settings(**changes)
    images = pipe(
        prompts,
        num_inference_steps=wanted.steps,
        guidance_scale=wanted.guidance_scale,
        height=wanted.height,
        width=wanted.width,
        max_sequence_length=wanted.max_sequence_length,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        use_resolution_binning=False,
        clean_caption=False,
    ).images
    return np.stack([np.asarray(image) for image in images])


@pytest.mark.parametrize(
    "changes",
    [{}, {"guidance_scale": 1.0}, {"height": 32, "width": 16}, {"max_sequence_length": 120}],
)
def test_bit_identical_to_the_pipeline(tiny_pipe: Any, tiny_folder: Path, changes: dict[str, Any]) -> None:
    sampler = sampler_of(tiny_pipe, tiny_folder, **changes)
    images = sampler.sample(sampler.encode(PROMPTS, batch_size=3), JOBS)
    assert images.dtype == np.uint8
    expected = pipeline_images(tiny_pipe, PROMPTS, [job.seed for job in JOBS], **changes)
    assert np.array_equal(images, expected)
    assert images.std() > 5  # not one grey


def test_bit_identical_with_a_schedule_and_with_fewer_steps(tiny_pipe: Any, tiny_folder: Path) -> None:
    sampler = sampler_of(tiny_pipe, tiny_folder)
    conditioning = sampler.encode(PROMPTS, batch_size=3)
    schedule = heuristic("random:0.4", ScheduleShape("pixart", STEPS, {"transformer_blocks": 3}))
    with ecad.applied(tiny_pipe, schedule):
        images = sampler.sample(conditioning, JOBS)
        assert np.array_equal(images, pipeline_images(tiny_pipe, PROMPTS, [11, 12, 13]))
    assert not np.array_equal(images, sampler.sample(conditioning, JOBS))
    fewer = sampler.with_steps(3).sample(conditioning, JOBS)
    assert np.array_equal(fewer, pipeline_images(tiny_pipe, PROMPTS, [11, 12, 13], steps=3))


def test_one_step(tiny_pipe: Any, tiny_folder: Path) -> None:
    """With one step the pipeline takes the scheduler's denoised sample (one-step students, LCM)."""
    from diffusers import LCMScheduler

    tiny_pipe.scheduler = LCMScheduler.from_config(tiny_pipe.scheduler.config)
    sampler = sampler_of(tiny_pipe, tiny_folder, steps=1)
    images = sampler.sample(sampler.encode(PROMPTS, batch_size=3), JOBS)
    assert np.array_equal(images, pipeline_images(tiny_pipe, PROMPTS, [11, 12, 13], steps=1))


def test_additional_conditions(tiny_folder: Path) -> None:
    """PixArt-alpha 1024 was trained with resolution and aspect-ratio embeddings (sample_size 128)."""
    from diffusers import (
        AutoencoderKL,
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtTransformer2DModel,
    )
    from transformers import AutoTokenizer, T5EncoderModel

    torch.manual_seed(0)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=24,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        cross_attention_dim=24,
        caption_channels=16,
        sample_size=128,
        patch_size=2,
        use_additional_conditions=True,
    )
    pipe = PixArtAlphaPipeline(
        tokenizer=AutoTokenizer.from_pretrained(tiny_folder / "tokenizer"),
        text_encoder=T5EncoderModel.from_pretrained(tiny_folder / "text_encoder"),
        vae=AutoencoderKL.from_pretrained(tiny_folder / "vae"),
        transformer=transformer.eval(),
        scheduler=DPMSolverMultistepScheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    changes = {"steps": 2, "height": 32, "width": 16}
    sampler = sampler_of(pipe, tiny_folder, **changes)
    images = sampler.sample(sampler.encode(PROMPTS[:1], 1), JOBS[:1])
    assert np.array_equal(images, pipeline_images(pipe, PROMPTS[:1], [11], **changes))


def test_every_image_has_a_seed_of_its_own() -> None:
    jobs = jobs_for(3, 2, first_seed=100)
    assert jobs == [Job(0, 100), Job(0, 101), Job(1, 102), Job(1, 103), Job(2, 104), Job(2, 105)]
    assert [list(batch) for batch in batches_of(jobs, 4)] == [jobs[:4], jobs[4:]]
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        jobs_for(3, 0, 0)
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        list(batches_of(jobs, 0))


def test_loading_a_local_folder(tiny_folder: Path) -> None:
    model = load_model(str(tiny_folder), device="cpu")
    assert (model.source.name, model.family.name) == ("tiny-pixart", "pixart")

    @dataclass
    class Overrides:
        steps: int | None = 7
        height: int | None = None

    found = settings_for(model.source, Overrides())
    assert (found.steps, found.height, found.guidance_scale) == (7, 16, 4.5)


def test_loading_errors_are_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_folder, broken)
    (broken / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ecad.ModelError, match="folder is incomplete") as caught:
        load_model(str(broken), device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        load_model(str(tiny_folder), device="gpu")
    with pytest.raises(ConfigError, match="unknown dtype 'half'"):
        load_model(str(tiny_folder), device="cpu", dtype="half")


def test_missing_weights_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ecad.ModelError, match=r"cannot load 'pixart-alpha'.*hf download PixArt-alpha.*local"
    ) as caught:
        load_model("pixart-alpha", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resolution", [256, 1024])
@pytest.mark.parametrize("changes", [{}, {"guidance_scale": 1.0}, {"height": 48, "max_sequence_length": 300}])
def test_sigma_is_bit_identical_to_its_pipeline(
    resolution: int, changes: dict[str, Any], tiny_folder: Path
) -> None:
    """PixArt-Sigma: 300 text tokens, another VAE, and no size conditions at 1024 pixels."""
    pipe = tiny_pixart(sigma=True, resolution=resolution)
    changes = {"height": 32, "width": 32, **changes}
    sampler = sampler_of(pipe, tiny_folder, **changes)
    images = sampler.sample(sampler.encode(PROMPTS, batch_size=3), JOBS)
    assert np.array_equal(images, pipeline_images(pipe, PROMPTS, [11, 12, 13], **changes))
    assert images.std() > 5
