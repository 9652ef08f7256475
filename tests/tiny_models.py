"""Tiny pipelines made of the real component classes of each preset, with random weights of a fixed seed.

Each builder gives the components of one published pipeline: the same classes (T5 encoder and SentencePiece
tokenizer, CLIP for FLUX, VAE with 8 pixels per latent, scheduler with the published settings), only smaller.
`save_tiny_model` writes them as a local folder with `save_pretrained`, as a user's download looks.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

TINY_BLOCKS = 2
_TEXT_WIDTH = 16

# scheduler_config.json of PixArt-alpha and PixArt-Sigma as published.
PIXART_SCHEDULER: dict[str, Any] = {
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "timestep_spacing": "linspace",
    "use_karras_sigmas": False,
}
# scheduler_config.json of FLUX.1-dev as published; schnell's differs in two values.
FLUX_DEV_SCHEDULER: dict[str, Any] = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}
FLUX_SCHNELL_SCHEDULER: dict[str, Any] = {**FLUX_DEV_SCHEDULER, "shift": 1.0, "use_dynamic_shifting": False}


def tiny_pixart(*, sigma: bool = False, resolution: int = 256) -> Any:
    """A `PixArtAlphaPipeline` or `PixArtSigmaPipeline` whose transformer is made for `resolution` pixels."""
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtSigmaPipeline,
        PixArtTransformer2DModel,
    )

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=TINY_BLOCKS,
        cross_attention_dim=24,
        caption_channels=_TEXT_WIDTH,
        sample_size=resolution // 8,
        patch_size=2,
        use_additional_conditions=resolution == 1024 and not sigma,
    )
    return _pipeline(
        PixArtSigmaPipeline if sigma else PixArtAlphaPipeline,
        tokenizer=tokenizer,
        text_encoder=_t5_encoder(len(tokenizer)),
        transformer=transformer,
        vae=_vae(scaling_factor=0.13025 if sigma else 0.18215),
        scheduler=DPMSolverMultistepScheduler(**PIXART_SCHEDULER),
    )


def tiny_flux(*, schnell: bool = False) -> Any:
    """A `FluxPipeline` like FLUX.1-dev (guidance embedding, shifted sigmas) or like FLUX.1-schnell."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=TINY_BLOCKS,
        num_single_layers=TINY_BLOCKS + 1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_TEXT_WIDTH,
        pooled_projection_dim=_TEXT_WIDTH,
        guidance_embeds=not schnell,
        axes_dims_rope=(4, 6, 6),
    )
    return _pipeline(
        FluxPipeline,
        tokenizer=clip,
        tokenizer_2=t5,
        text_encoder=_clip_encoder(len(clip)),
        text_encoder_2=_t5_encoder(len(t5)),
        transformer=transformer,
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(
            **(FLUX_SCHNELL_SCHEDULER if schnell else FLUX_DEV_SCHEDULER)
        ),
    )


def tiny_model(preset_name: str) -> Any:
    """The tiny pipeline that stands for a preset: "pixart-sigma-512", "flux-dev", ..."""
    if preset_name.startswith("flux"):
        return tiny_flux(schnell="schnell" in preset_name)
    resolution = next((size for size in (512, 1024) if preset_name.endswith(f"-{size}")), 256)
    return tiny_pixart(sigma="sigma" in preset_name, resolution=resolution)


def save_tiny_model(preset_name: str, folder: Path) -> Path:
    """Write that pipeline as a local folder; returns the folder."""
    tiny_model(preset_name).save_pretrained(folder)
    return folder


@cache
def t5_tokenizer() -> Any:
    """A `T5Tokenizer` of 120 pieces, from a `spiece.model` as the published models have it."""
    import io

    import sentencepiece
    from transformers import T5TokenizerFast

    from ecad.resources import find_prompts

    prompts = find_prompts("ecad-100")
    assert prompts is not None
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(prompts.read_text(encoding="utf-8").splitlines()),
        model_writer=model,
        vocab_size=120,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        num_threads=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "spiece.model").write_bytes(model.getvalue())
        Path(folder, "tokenizer_config.json").write_text(
            json.dumps({"extra_ids": 0, "model_max_length": 512})
        )
        return T5TokenizerFast.from_pretrained(folder)


@cache
def clip_tokenizer() -> Any:
    """A `CLIPTokenizer` without merges: one token per byte, and its 77-token limit."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        # CLIP's byte alphabet: printable bytes stand for themselves, the others for code points from 256 on.
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
        tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
        Path(folder, "vocab.json").write_text(
            json.dumps({token: index for index, token in enumerate(tokens)})
        )
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        Path(folder, "tokenizer_config.json").write_text(
            json.dumps({"model_max_length": 77, "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"})
        )
        return CLIPTokenizer.from_pretrained(folder)


def _t5_encoder(vocabulary: int, width: int = _TEXT_WIDTH) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=width,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _clip_encoder(vocabulary: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=_TEXT_WIDTH,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            projection_dim=_TEXT_WIDTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=2,  # as published: CLIP then takes the token of the highest number for the pooled output
        )
    )


def _vae(**settings: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        **settings,
    )


def _pipeline(pipeline_class: Any, **components: Any) -> Any:
    for name, parameter in components["transformer"].named_parameters():
        # The default initialisation makes every block's contribution too small for caching to show.
        if parameter.ndim >= 2:
            std = 0.3 if "scale_shift_table" in name else parameter.shape[-1] ** -0.5
            torch.nn.init.normal_(parameter, std=std)
    for component in components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    pipe = pipeline_class(**components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_sd3() -> Any:
    """A `StableDiffusion3Pipeline`, whose last block has no `ff_context`: of a family that ecad may not know."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=TINY_BLOCKS + 1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * _TEXT_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * _TEXT_WIDTH,
        pos_embed_max_size=8,
    )
    return _pipeline(
        StableDiffusion3Pipeline,
        tokenizer=clip,
        tokenizer_2=clip,
        tokenizer_3=t5,
        text_encoder=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_2=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_3=_t5_encoder(len(t5), 2 * _TEXT_WIDTH),
        transformer=transformer,
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
    )
