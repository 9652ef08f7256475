"""What one forward of a transformer processes: sizes, tokens and rows of one image."""

from __future__ import annotations

from types import MappingProxyType

from ecad.errors import ConfigError
from ecad.families.catalog import ModelSource
from ecad.families.family import Workload
from ecad.families.layers import whole_number
from ecad.families.take_over import take_over_of
from ecad.families.vae import vae_scales


def workload_for(
    source: ModelSource,
    *,
    height: int | None = None,
    width: int | None = None,
    has_guidance_rows: bool | None = None,
    text_tokens: int | None = None,
    num_frames: int | None = None,
) -> Workload:
    """The workload of one image or video of this model; sizes in pixels, by default the preset's or the native ones.

    `has_guidance_rows` says whether there are two rows (`Family.has_guidance_rows`); by default as the preset or the
    model most like it recommends, without any as pipelines do by themselves. `text_tokens` is what prompts are padded
    to, by default the preset's `max_sequence_length`, without a preset the pipeline's default (120 for PixArt, 512 for
    FLUX). A family that pads none has those of its `Sizes` instead. The frames of a video are those of the preset, too,
    or the pipeline's default.
    """
    family, config = source.architecture()
    preset = source.preset
    scale, temporal_scale = vae_scales(source)
    if height is None:
        height = preset.height if preset else native_size(source)
    if width is None:
        width = preset.width if preset else native_size(source)
    multiple = scale * (family.sizes.latents_per_token or whole_number(config, "patch_size"))
    check_multiple(source, height, width, multiple)
    if num_frames is None:
        num_frames = preset.num_frames if preset else family.sizes.num_frames
    if num_frames < 1 or (num_frames > 1 and not family.makes_videos):
        raise ConfigError(f"{source.name} cannot make {num_frames} frames")
    latent_frames = (num_frames - 1) // temporal_scale + 1
    if (num_frames - 1) % temporal_scale:
        raise ConfigError(
            f"the number of frames must be 1 more than a multiple of {temporal_scale} for {source.name}, "
            f"not {num_frames}"
        )
    # Pipelines fill up what the last token leaves empty (CogVideoX 1.5).
    depth = config.get("patch_size_t") if family.makes_videos else None
    frames_per_token = depth if isinstance(depth, int) and depth > 0 else 1
    token_frames = -(-latent_frames // frames_per_token)
    if not family.sizes.pads_text:
        text_tokens = family.sizes.text_tokens
    elif text_tokens is None:
        text_tokens = preset.max_sequence_length if preset else family.sizes.text_tokens
    if text_tokens < 1:
        raise ConfigError(f"the number of text tokens must be at least 1, not {text_tokens}")
    if has_guidance_rows is None:
        template = source.template
        value = None if template is None else getattr(template, family.guidance_setting)
        has_guidance_rows = family.has_guidance_rows(config, value)
    return Workload(
        family=family.name,
        transformer=MappingProxyType(dict(config)),
        height=height,
        width=width,
        latent_height=height // scale,
        latent_width=width // scale,
        image_tokens=token_frames * (height // multiple) * (width // multiple),
        text_tokens=text_tokens + family.sizes.further_text_tokens,
        rows=2 if has_guidance_rows else 1,
        num_frames=num_frames,
        latent_frames=token_frames * frames_per_token,
        take_over=take_over_of(source),
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
    return sample_size * vae_scales(source).pixels
