"""Multiply-accumulates (MACs) of a schedule, from the architecture alone: no weights, no torch.

Two conventions. "true" counts every matrix product and convolution, the attention products included; it equals
half of what torch's FlopCounterMode reports. "paper" is the ECAD paper's (arXiv 2506.15682): linear layers and
convolutions only, always two rows (the guidance pair of one image), always 120 text tokens for PixArt: also its
numbers for PixArt-Sigma assume 120, although Sigma's pipeline pads to 300. So "paper" depends on the architecture
and the resolution only and compares with published numbers; "true" is the work that really runs. Norms,
activations, softmax and other elementwise work count in neither. Step 0 counts every component, as it always
recomputes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ecad.errors import ConfigError, ModelError, ScheduleError
from ecad.models import ModelSource, get_family
from ecad.schedule.schedule import Schedule

CONVENTIONS = ("true", "paper")

ComponentMacs = dict[tuple[str, str], int]  # (block list, component) -> MACs of one execution, all rows

_PAPER_ROWS = 2
_PAPER_PIXART_TEXT_TOKENS = 120
_DEFAULT_TEXT_TOKENS = 120  # of a model without a preset: what diffusers' PixArtAlphaPipeline pads to
_TIMESTEP_CHANNELS = 256  # sinusoidal features of a timestep or a size, in diffusers' embedders
_FEED_FORWARD_FACTOR = 4  # hidden width / width, the default of diffusers' FeedForward
_HUB_VAE_SCALE_FACTOR = 8  # of a hub model without a preset: that of every published PixArt
_GATED_ACTIVATIONS = ("geglu", "swiglu")  # their input projection is twice as wide: values and gates


@dataclass(frozen=True)
class Workload:
    """What one forward of the transformer processes.

    `rows` is the batch of one image: 2 with classifier-free guidance in one forward, else 1. `image_tokens`
    and `text_tokens` are per row. `transformer` holds the numbers of its config. The steps are the schedule's.
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


def workload_for(
    source: ModelSource,
    *,
    height: int | None = None,
    width: int | None = None,
    guidance: bool = True,
    text_tokens: int | None = None,
) -> Workload:
    """The workload of one image of this model; sizes in pixels, by default the preset's or the native ones.

    Text tokens are by default the preset's `max_sequence_length`, or 120 for a model without a preset.
    """
    if source.spec is None or source.transformer_config is None:
        raise ModelError(f"the architecture of {source.name!r} is not known before it is loaded")
    preset, config = source.preset, source.transformer_config
    scale = _vae_scale_factor(source)
    if height is None:
        height = preset.height if preset else native_size(source)
    if width is None:
        width = preset.width if preset else native_size(source)
    multiple = scale * _number(config, "patch_size")
    for name, pixels in (("height", height), ("width", width)):
        if pixels < multiple or pixels % multiple:
            raise ConfigError(
                f"{name} must be a multiple of {multiple} pixels for {source.name}, not {pixels}"
            )
    if text_tokens is None:
        text_tokens = preset.max_sequence_length if preset else _DEFAULT_TEXT_TOKENS
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
        rows=2 if guidance else 1,
    )


def native_size(source: ModelSource) -> int:
    """Height and width in pixels that the transformer was made for."""
    if source.preset is not None:
        return source.preset.height
    if source.transformer_config is None:
        raise ModelError(f"the architecture of {source.name!r} is not known before it is loaded")
    return _number(source.transformer_config, "sample_size") * _vae_scale_factor(source)


def component_macs(workload: Workload, convention: str = "true") -> ComponentMacs:
    """MACs of one execution of each component, for all rows."""
    return _count(workload, convention)[0]


def constant_macs(workload: Workload, convention: str = "true") -> int:
    """MACs of one step that no schedule saves: embedders, modulation, output projection; for all rows."""
    return _count(workload, convention)[1]


def schedule_macs(schedule: Schedule, workload: Workload, convention: str = "true") -> int:
    """MACs of one image's denoising with this schedule, all steps."""
    if schedule.family != workload.family:
        raise ScheduleError(
            f"a schedule for family {schedule.family!r} has no cost on family {workload.family!r}"
        )
    blocks = _block_counts(workload)
    if dict(schedule.shape.blocks) != blocks:
        raise ScheduleError(
            f"the schedule is for {dict(schedule.shape.blocks)} blocks, the model has {blocks}"
        )
    components, constant = _count(workload, convention)
    counts = schedule.recompute_counts()
    return schedule.steps * constant + sum(count * components[part] for part, count in counts.items())


def uncached_macs(steps: int, workload: Workload, convention: str = "true") -> int:
    """MACs of one image's denoising with everything recomputed in every step."""
    components, constant = _count(workload, convention)
    blocks = _block_counts(workload)
    return steps * (constant + sum(blocks[block_list] * macs for (block_list, _), macs in components.items()))


def speedup_macs(schedule: Schedule, workload: Workload, convention: str = "true") -> float:
    """How many times fewer MACs than recomputing everything."""
    return uncached_macs(schedule.steps, workload, convention) / schedule_macs(schedule, workload, convention)


def _pixart(workload: Workload, convention: str) -> tuple[ComponentMacs, int]:
    """PixArtTransformer2DModel of diffusers: (MACs per component execution, MACs per step outside of them)."""
    config = workload.transformer
    is_paper = convention == "paper"
    rows = _PAPER_ROWS if is_paper else workload.rows
    text = _PAPER_PIXART_TEXT_TOKENS if is_paper else workload.text_tokens
    image = workload.image_tokens
    width = _number(config, "num_attention_heads") * _number(config, "attention_head_dim")
    patch = _number(config, "patch_size") ** 2  # latent pixels of one image token
    in_channels = _number(config, "in_channels")
    out_channels = in_channels if config.get("out_channels") is None else _number(config, "out_channels")
    has_captions = config.get("caption_channels") is not None
    text_width = _number(config, "cross_attention_dim")  # of the text that cross-attention sees

    square = width * width
    attn1 = 4 * image * square  # queries, keys, values, output
    attn2 = (
        2 * image * square + 2 * text * text_width * width
    )  # queries and output; keys and values of the text
    if not is_paper:  # scores QK^T and weighted sum AV: two products of (image x keys x width)
        attn1 += 2 * image * image * width
        attn2 += 2 * image * text * width
    hidden = _FEED_FORWARD_FACTOR * width
    is_gated = config.get("activation_fn") in _GATED_ACTIVATIONS
    ff = image * width * hidden * (3 if is_gated else 2)
    components = {
        ("transformer_blocks", "attn1"): rows * attn1,
        ("transformer_blocks", "attn2"): rows * attn2,
        ("transformer_blocks", "ff"): rows * ff,
    }

    constant = image * patch * in_channels * width  # pos_embed.proj, a convolution whose stride is its size
    constant += _TIMESTEP_CHANNELS * width + square  # adaln_single.emb.timestep_embedder
    if _has_size_conditions(config):  # resolution (two numbers) and aspect ratio, a third of the width each
        third = width // 3
        constant += 3 * (_TIMESTEP_CHANNELS * third + third * third)
    constant += width * 6 * width  # adaln_single.linear, the modulation of all blocks
    if has_captions:
        constant += text * (_number(config, "caption_channels") * width + square)  # caption_projection
    constant += image * width * patch * out_channels  # proj_out
    return components, rows * constant


def _has_size_conditions(config: Mapping[str, Any]) -> bool:
    """As in diffusers: by default only the 1024-pixel model (sample_size 128) has them."""
    value = config.get("use_additional_conditions")
    return bool(config.get("sample_size", 128) == 128) if value is None else bool(value)


_COUNTERS: dict[str, Callable[[Workload, str], tuple[ComponentMacs, int]]] = {"pixart": _pixart}


def _count(workload: Workload, convention: str) -> tuple[ComponentMacs, int]:
    if convention not in CONVENTIONS:
        raise ConfigError(f"unknown MACs convention {convention!r}: use one of {', '.join(CONVENTIONS)}")
    if workload.family not in _COUNTERS:
        raise ModelError(f"cannot count the MACs of family {workload.family!r}, only of {sorted(_COUNTERS)}")
    return _COUNTERS[workload.family](workload, convention)


def _block_counts(workload: Workload) -> dict[str, int]:
    return get_family(workload.family).block_counts(workload.transformer)


def _number(config: Mapping[str, Any], key: str) -> int:
    """A number of the transformer's config, which comes from a file that anybody may have edited."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"the transformer's config must have a positive whole number {key!r}, not {value!r}")
    return value


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
