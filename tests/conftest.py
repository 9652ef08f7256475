"""Shared fixtures: tiny PixArt and FLUX pipelines of diffusers' own classes with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TINY_BLOCKS = 3
TINY_STEPS = 6
TINY_FLUX_BLOCKS = {"transformer_blocks": 2, "single_transformer_blocks": 3}

# What the golden numbers and published schedules of the official implementation are read from, if present.
SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors are faster on one thread, and tests that run side by side do not fight for cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prompt embeddings of tests are kept with the tests' files, not in the user's cache."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("ECAD_CACHE", str(tmp_path_factory.mktemp("ecad-cache")))
        yield


@pytest.fixture(scope="session")
def tiny_components() -> dict[str, Any]:
    """The parts of a tiny `PixArtAlphaPipeline`: 3 blocks of width 16, 16 x 16 pixels, weights of a fixed seed."""
    import torch
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtTransformer2DModel
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    from ecad.resources import minis_dir

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(minis_dir() / "pixart-mini" / "tokenizer")
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=TINY_BLOCKS,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        patch_size=2,
        use_additional_conditions=False,
    )
    for name, parameter in transformer.named_parameters():
        # The default initialisation makes every block's contribution too small for caching to show.
        if parameter.ndim >= 2:
            torch.nn.init.normal_(
                parameter, std=0.3 if "scale_shift_table" in name else parameter.shape[-1] ** -0.5
            )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
    )
    for module in (text_encoder, transformer, vae):
        module.eval().requires_grad_(False)
    return {
        "tokenizer": tokenizer,
        "text_encoder": text_encoder,
        "transformer": transformer,
        "vae": vae,
        "scheduler": DPMSolverMultistepScheduler(),
    }


@pytest.fixture
def tiny_pipe(tiny_components: dict[str, Any]) -> Iterator[Any]:
    """A tiny pipeline; any schedule that a test leaves on it is removed."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline

    import ecad

    components = {**tiny_components, "scheduler": DPMSolverMultistepScheduler()}
    pipe = PixArtAlphaPipeline(**components)
    pipe.set_progress_bar_config(disable=True)
    yield pipe
    ecad.remove(pipe)


@pytest.fixture(scope="session")
def tiny_folder(tiny_components: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline as a local folder, as `save_pretrained` writes it."""
    from diffusers import PixArtAlphaPipeline

    folder = tmp_path_factory.mktemp("models") / "tiny-pixart"
    PixArtAlphaPipeline(**tiny_components).save_pretrained(folder)
    return folder


def tiny_flux_transformer(guidance_embeds: bool) -> Any:
    """A `FluxTransformer2DModel` of width 16 with 2 double-stream and 3 single-stream blocks, weights of a seed."""
    import torch
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(1)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=TINY_FLUX_BLOCKS["transformer_blocks"],
        num_single_layers=TINY_FLUX_BLOCKS["single_transformer_blocks"],
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(2, 2, 4),
    )
    for parameter in transformer.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return transformer.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_flux_components() -> dict[str, Any]:
    """The parts of a tiny `FluxPipeline` for 16 x 16 pixels: 16 image tokens, width 16 throughout."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    from ecad.resources import minis_dir

    torch.manual_seed(0)
    # One tokenizer for both encoders: what is tested here begins at the transformer.
    tokenizer = AutoTokenizer.from_pretrained(minis_dir() / "pixart-mini" / "tokenizer")
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    text_encoder_2 = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1,
        scaling_factor=0.4,
    )
    for module in (text_encoder, text_encoder_2, vae):
        module.eval().requires_grad_(False)
    return {
        "tokenizer": tokenizer,
        "tokenizer_2": tokenizer,
        "text_encoder": text_encoder,
        "text_encoder_2": text_encoder_2,
        "transformer": tiny_flux_transformer(guidance_embeds=True),
        "vae": vae,
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


@pytest.fixture
def tiny_flux_pipe(tiny_flux_components: dict[str, Any]) -> Iterator[Any]:
    """A tiny `FluxPipeline`; any schedule that a test leaves on it is removed."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    import ecad

    components = {**tiny_flux_components, "scheduler": FlowMatchEulerDiscreteScheduler()}
    pipe = FluxPipeline(**components)
    pipe.set_progress_bar_config(disable=True)
    yield pipe
    ecad.remove(pipe)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder with official numbers and schedules; a test that needs it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder with the official implementation's numbers is not here ({SHARED.name}/)")
    return SHARED
