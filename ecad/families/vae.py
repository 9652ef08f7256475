"""How much smaller a model's latents are than its pictures: from a preset, or from a local VAE's `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecad.errors import ModelError
from ecad.families.catalog import ModelSource

_HUB_PIXELS = 8  # of a hub model without a preset: that of every published PixArt and FLUX

# Where the VAEs of diffusers say it themselves.
_PIXELS_KEYS = ("scale_factor_spatial", "spatial_compression_ratio")
_FRAMES_KEYS = ("scale_factor_temporal", "temporal_compression_ratio")


class VaeScales(NamedTuple):
    """`pixels` of the picture per latent pixel, each way; `frames` of a video (after its first) per latent frame."""

    pixels: int
    frames: int


def vae_scales(source: ModelSource) -> VaeScales:
    """ModelError if a local VAE's config does not say."""
    preset = source.preset
    if preset is not None:
        return VaeScales(preset.vae_scale_factor, preset.vae_temporal_factor)
    if source.pipe is not None:
        return scales_of(source.pipe.vae.config)
    if not source.is_local:
        return VaeScales(_HUB_PIXELS, 1)
    path = Path(source.location) / "vae" / "config.json"
    try:
        return scales_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"cannot read the VAE's block_out_channels from {path}: {error}") from None


def scales_of(config: Mapping[str, Any]) -> VaeScales:
    """By a VAE's config, as its class and the pipelines of diffusers do.

    KeyError, TypeError, ValueError or AttributeError for nonsense.
    """
    if "spatio_temporal_scaling" in config:  # LTX: which of its blocks halve height, width and time
        halvings = sum(map(bool, config["spatio_temporal_scaling"]))
        pixels, frames = config["patch_size"] * 2**halvings, config["patch_size_t"] * 2**halvings
    elif "temperal_downsample" in config:  # Wan's and Qwen-Image's: which of their levels halve time, too
        pixels, frames = (
            2 ** len(config["temperal_downsample"]),
            2 ** sum(map(bool, config["temperal_downsample"])),
        )
    elif "encoder_block_out_channels" in config:  # AutoencoderDC, whose decoder may be wider
        pixels, frames = 2 ** (len(config["encoder_block_out_channels"]) - 1), 1
    else:
        blocks = len(config["block_out_channels"]) if "block_out_channels" in config else 0
        if "block_out_channels" in config and blocks < 1:
            raise ValueError("it must name at least one block")
        # Every block but the last halves height and width.
        pixels, frames = 2 ** (blocks - 1) if blocks else None, 1
        if (
            "temperal_downsample" in config
        ):  # Wan's and Qwen-Image's: of blocks that halve both, which halve time, too
            pixels = 2 ** len(config["temperal_downsample"])
            frames = 2 ** sum(map(bool, config["temperal_downsample"]))
    pixels = next((config[key] for key in _PIXELS_KEYS if config.get(key) is not None), pixels)
    frames = next((config[key] for key in _FRAMES_KEYS if config.get(key) is not None), frames)
    if pixels is None:
        raise KeyError("block_out_channels")
    return VaeScales(int(pixels), int(frames))
