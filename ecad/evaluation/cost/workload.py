"""What one forward of a transformer processes: sizes, tokens and rows of one image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ecad.errors import ConfigError, ModelError
from ecad.models import ModelSource

_HUB_VAE_SCALE_FACTOR = 8  # of a hub model without a preset: that of every published PixArt and FLUX


@dataclass(frozen=True)
class Workload:
    """What one denoising step of one image processes.

    `rows` is the number of rows that pass the transformer for one image: 2 with classifier-free guidance (in one
    forward for PixArt, in two for FLUX's true guidance, which costs the same), else 1. `image_tokens` and
    `text_tokens` are per row. `transformer` holds the numbers of its config. The steps are the schedule's.
    """

    family: str
    transformer: Mapping[str, Any]
    height: int  # pixels
    width: int  # pixels
    latent_height: int  # what the VAE makes of the pixels
    latent_width: int
    image_tokens: int
    text_tokens: int
    rows: int


@dataclass(frozen=True)
class _FamilySizes:
    """What the family's pipeline does where neither preset nor config says otherwise (defaults of diffusers)."""

    text_tokens: int  # per prompt, padded
    latents_per_token: (
        int | None
    )  # latent pixels per image token in each direction; None: config's patch_size
    sample_size: int | None  # native latent height and width; None: config's sample_size
    guidance_rows: bool  # whether `guidance` adds a row; FLUX gets its guidance as an embedded number


_SIZES = {
    "pixart": _FamilySizes(120, None, None, True),  # PixArtAlphaPipeline
    # FluxPipeline packs 2 x 2 latent pixels into a token itself: the transformer's patch_size is 1.
    "flux": _FamilySizes(512, 2, 128, False),
}


def workload_for(
    source: ModelSource,
    *,
    height: int | None = None,
    width: int | None = None,
    guidance: bool = True,
    true_guidance: bool = False,
    text_tokens: int | None = None,
) -> Workload:
    """The workload of one image of this model; sizes in pixels, by default the preset's or the native ones.

    `guidance` is PixArt's classifier-free guidance (two rows in one forward). FLUX's guidance is embedded and
    costs no row; `true_guidance` (diffusers' `true_cfg_scale` above 1 with a negative prompt) calls its
    transformer twice a step. Text tokens are by default the preset's `max_sequence_length`, without a preset the
    pipeline's default (120 for PixArt, 512 for FLUX).
    """
    if source.spec is None or source.transformer_config is None:
        raise ModelError(f"the architecture of {source.name!r} is not known before it is loaded")
    preset, config = source.preset, source.transformer_config
    sizes = _sizes(source.spec.family)
    scale = _vae_scale_factor(source)
    if height is None:
        height = preset.height if preset else native_size(source)
    if width is None:
        width = preset.width if preset else native_size(source)
    multiple = scale * (sizes.latents_per_token or whole_number(config, "patch_size"))
    for name, pixels in (("height", height), ("width", width)):
        if pixels < multiple or pixels % multiple:
            raise ConfigError(
                f"{name} must be a multiple of {multiple} pixels for {source.name}, not {pixels}"
            )
    if text_tokens is None:
        text_tokens = preset.max_sequence_length if preset else sizes.text_tokens
    if text_tokens < 1:
        raise ConfigError(f"the number of text tokens must be at least 1, not {text_tokens}")
    return Workload(
        family=source.spec.family,
        transformer=MappingProxyType(dict(config)),
        height=height,
        width=width,
        latent_height=height // scale,
        latent_width=width // scale,
        image_tokens=(height // multiple) * (width // multiple),
        text_tokens=text_tokens,
        rows=2 if (guidance if sizes.guidance_rows else true_guidance) else 1,
    )


def native_size(source: ModelSource) -> int:
    """Height and width in pixels that the transformer was made for."""
    if source.preset is not None:
        return source.preset.height
    if source.spec is None or source.transformer_config is None:
        raise ModelError(f"the architecture of {source.name!r} is not known before it is loaded")
    sample_size = _sizes(source.spec.family).sample_size
    if sample_size is None:
        sample_size = whole_number(source.transformer_config, "sample_size")
    return sample_size * _vae_scale_factor(source)


def whole_number(config: Mapping[str, Any], key: str) -> int:
    """A number of the transformer's config, which comes from a file that anybody may have edited."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"the transformer's config must have a positive whole number {key!r}, not {value!r}")
    return value


def _sizes(family: str) -> _FamilySizes:
    try:
        return _SIZES[family]
    except KeyError:
        raise ModelError(f"the sizes of family {family!r} are not known, only of {sorted(_SIZES)}") from None


def _vae_scale_factor(source: ModelSource) -> int:
    """Pixels per latent pixel, in each direction."""
    if source.preset is not None:
        return source.preset.vae_scale_factor
    if not source.is_local:
        return _HUB_VAE_SCALE_FACTOR
    path = Path(source.location) / "vae" / "config.json"
    try:
        channels = json.loads(path.read_text(encoding="utf-8"))["block_out_channels"]
        blocks = len(channels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read the VAE's block_out_channels from {path}: {error}") from None
    if blocks < 1:
        raise ModelError(f"{path}: block_out_channels must name at least one block")
    return int(2 ** (blocks - 1))  # every block but the last halves height and width
