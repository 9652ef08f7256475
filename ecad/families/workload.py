"""What one forward of a transformer processes: sizes, tokens and rows of one image."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

from ecad.errors import ConfigError, ModelError
from ecad.families.catalog import ModelSource
from ecad.families.family import Workload
from ecad.families.layers import whole_number

_HUB_VAE_SCALE_FACTOR = 8  # of a hub model without a preset: that of every published PixArt and FLUX


def workload_for(
    source: ModelSource,
    *,
    height: int | None = None,
    width: int | None = None,
    has_guidance_rows: bool | None = None,
    text_tokens: int | None = None,
) -> Workload:
    """The workload of one image of this model; sizes in pixels, by default the preset's or the native ones.

    `has_guidance_rows` says whether the family's `guidance_setting` is above 1; by default it is as the preset or the
    model most like it recommends, without any for those guided by `guidance_scale`, whose pipelines ask for it.
    `text_tokens` is what prompts are padded to, by default the preset's `max_sequence_length`, without a preset the
    pipeline's default (120 for PixArt, 512 for FLUX). A family that pads none has those of its `Sizes` instead.
    """
    family, config = source.architecture()
    preset = source.preset
    scale = _vae_scale_factor(source)
    if height is None:
        height = preset.height if preset else native_size(source)
    if width is None:
        width = preset.width if preset else native_size(source)
    multiple = scale * (family.sizes.latents_per_token or whole_number(config, "patch_size"))
    check_multiple(source, height, width, multiple)
    if not family.sizes.pads_text:
        text_tokens = family.sizes.text_tokens
    elif text_tokens is None:
        text_tokens = preset.max_sequence_length if preset else family.sizes.text_tokens
    if text_tokens < 1:
        raise ConfigError(f"the number of text tokens must be at least 1, not {text_tokens}")
    if has_guidance_rows is None:
        recommended = source.template
        has_guidance_rows = (
            family.guidance_setting == "guidance_scale"
            if recommended is None
            else recommended.has_guidance_rows(family.guidance_setting)
        )
    return Workload(
        family=family.name,
        transformer=MappingProxyType(dict(config)),
        height=height,
        width=width,
        latent_height=height // scale,
        latent_width=width // scale,
        image_tokens=(height // multiple) * (width // multiple),
        text_tokens=text_tokens + family.sizes.further_text_tokens,
        rows=2 if has_guidance_rows else 1,
    )


def check_multiple(source: ModelSource, height: int, width: int, multiple: int) -> None:
    """ConfigError unless height and width, in pixels, are made of whole image tokens."""
    for name, pixels in (("height", height), ("width", width)):
        if pixels < multiple or pixels % multiple:
            raise ConfigError(
                f"{name} must be a multiple of {multiple} pixels for {source.name}, not {pixels}"
            )


def native_size(source: ModelSource) -> int:
    """Height and width in pixels that the transformer was made for."""
    if source.preset is not None:
        return source.preset.height
    family, config = source.architecture()
    sample_size = family.sizes.sample_size
    if sample_size is None:
        sample_size = whole_number(config, "sample_size")
    return sample_size * _vae_scale_factor(source)


def _vae_scale_factor(source: ModelSource) -> int:
    """Pixels per latent pixel, in each direction."""
    if source.preset is not None:
        return source.preset.vae_scale_factor
    if not source.is_local:
        return _HUB_VAE_SCALE_FACTOR
    path = Path(source.location) / "vae" / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        # Video autoencoders, of which Qwen-Image's is one, have a list of blocks that change the size.
        if "temperal_downsample" in config:
            return int(2 ** len(config["temperal_downsample"]))
        blocks = len(config["block_out_channels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read the VAE's block_out_channels from {path}: {error}") from None
    if blocks < 1:
        raise ModelError(f"{path}: block_out_channels must name at least one block")
    return int(2 ** (blocks - 1))  # every block but the last halves height and width
