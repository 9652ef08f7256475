"""The published models at full size on the meta device: right shapes and dtypes, no weights, no memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ecad.families import PRESETS, find_model
from ecad.families.workload import Workload, workload_for
from ecad.sampling import without_weights

_VAE = {  # of both families, but for the latent channels
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def dtype_of(name: str) -> torch.dtype:
    dtype = getattr(torch, PRESETS[name].dtype)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"the preset {name} has no dtype of torch: {PRESETS[name].dtype!r}")
    return dtype


def build(name: str, images: int) -> tuple[nn.Module, dict[str, Any], Workload]:
    """The transformer of a preset, the inputs of one step for a batch, and the workload of one image."""
    load = workload_for(find_model(name))
    transformer, inputs = without_weights.build(load, images, dtype_of(name))
    inputs.pop("return_dict")
    return transformer, inputs, load


def build_vae(name: str) -> nn.Module:
    from diffusers import AutoencoderKL

    is_flux = PRESETS[name].family == "flux"
    extra = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False} if is_flux else {}
    with torch.device("meta"):
        return AutoencoderKL(**_VAE, **extra).to(dtype_of(name)).eval()


def latents_of(name: str, images: int) -> torch.Tensor:
    load = workload_for(find_model(name))
    channels = 16 if load.family == "flux" else 4
    size = (images, channels, load.latent_height, load.latent_width)
    return torch.empty(size, dtype=dtype_of(name), device="meta")


def build_text_encoders() -> dict[str, nn.Module]:
    """FLUX's: T5-XXL and CLIP-L, as their published configurations say."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    t5 = T5Config(
        vocab_size=32128,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    clip = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    with torch.device("meta"):
        encoders = {"T5-XXL encoder": T5EncoderModel(t5), "CLIP text encoder": CLIPTextModel(clip)}
    return {name: encoder.to(torch.bfloat16) for name, encoder in encoders.items()}


def weight_bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
