"""Named models: where their weights are, and the settings under which they are searched and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


def _frozen(values: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    return MappingProxyType(dict(values or {}))


@dataclass(frozen=True)
class Preset:
    """A model by name, with the settings its authors recommend.

    `source` is a hub id, or None for a mini bundled with ecad. Where the transformer lives in a repository of
    its own, `transformer_source` names it. `height` and `width` are pixels; `max_sequence_length` is the number
    of text tokens that every prompt is padded to. `transformer` holds the architecture's numbers (a subset of
    the transformer's `config.json`), so that costs can be computed without any weights.
    """

    name: str
    family: str
    source: str | None
    pipeline_class: str
    steps: int
    guidance_scale: float
    height: int
    width: int
    dtype: str
    max_sequence_length: int
    vae_scale_factor: int = 8
    transformer_source: str | None = None
    transformer: Mapping[str, Any] = field(default_factory=_frozen)
    search: Mapping[str, Any] = field(default_factory=_frozen)
    note: str = ""


_PIXART_XL = {
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "patch_size": 2,
    "caption_channels": 4096,
    "cross_attention_dim": 1152,
}


def _pixart(
    name: str, resolution: int, source: str, *, sigma: bool = False, transformer_source: str | None = None
) -> Preset:
    return Preset(
        name=name,
        family="pixart",
        source=source,
        transformer_source=transformer_source,
        pipeline_class="PixArtSigmaPipeline" if sigma else "PixArtAlphaPipeline",
        steps=20,
        guidance_scale=4.5,
        height=resolution,
        width=resolution,
        dtype="float16",
        # Alpha pads captions to 120 tokens, Sigma to 300: the defaults of diffusers' two pipelines.
        max_sequence_length=300 if sigma else 120,
        transformer=_frozen(
            {
                **_PIXART_XL,
                "sample_size": resolution // 8,
                # Only Alpha-1024 was trained with resolution and aspect-ratio embeddings.
                "use_additional_conditions": resolution == 1024 and not sigma,
            }
        ),
        # The population of the ECAD paper (arXiv 2506.15682), which searched on 100 prompts.
        search=_frozen({"population": 72, "prompts_limit": 100}),
    )


_FLUX = {
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 64,
    "patch_size": 1,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
}


def _flux(name: str, resolution: int, *, schnell: bool = False) -> Preset:
    return Preset(
        name=name,
        family="flux",
        source="black-forest-labs/FLUX.1-schnell" if schnell else "black-forest-labs/FLUX.1-dev",
        pipeline_class="FluxPipeline",
        # Dev is searched with the 20 steps and the guidance of the ECAD paper; schnell is distilled to 4 steps.
        steps=4 if schnell else 20,
        guidance_scale=0.0 if schnell else 5.0,
        height=resolution,
        width=resolution,
        dtype="bfloat16",
        max_sequence_length=256 if schnell else 512,
        transformer=_frozen({**_FLUX, "guidance_embeds": not schnell}),
        # The population of the ECAD paper (arXiv 2506.15682) for FLUX.
        search=_frozen({"population": 24, "prompts_limit": 100}),
    )


def _mini(name: str, family: str, pipeline_class: str, *, guidance_scale: float) -> Preset:
    return Preset(
        name=name,
        family=family,
        source=None,
        pipeline_class=pipeline_class,
        steps=20,
        guidance_scale=guidance_scale,
        height=64,
        width=64,
        dtype="float32",
        max_sequence_length=24,  # the longest caption has 17 or, with CLIP's start token, 18 tokens
        vae_scale_factor=4,
        search=_frozen(
            {
                "population": 18,
                "quality": "alignment",
                "prompts": "scenes-search",
                "prompts_limit": 32,
                "selection_limit": 64,
                "heldout_prompts": "scenes-heldout",
                "heldout_limit": 64,
                "batch_size": 32,
            }
        ),
        note="a small trained model that ships with ecad; draws simple scenes, made to try ecad on a CPU",
    )


_SIGMA_PIPELINE = "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers"  # text encoder, VAE and scheduler of Sigma

_ALL = (
    _pixart("pixart-alpha", 256, "PixArt-alpha/PixArt-XL-2-256x256"),
    _pixart("pixart-alpha-512", 512, "PixArt-alpha/PixArt-XL-2-512x512"),
    _pixart("pixart-alpha-1024", 1024, "PixArt-alpha/PixArt-XL-2-1024-MS"),
    _pixart(
        "pixart-sigma",
        256,
        _SIGMA_PIPELINE,
        sigma=True,
        transformer_source="PixArt-alpha/PixArt-Sigma-XL-2-256x256",
    ),
    _pixart(
        "pixart-sigma-512",
        512,
        _SIGMA_PIPELINE,
        sigma=True,
        transformer_source="PixArt-alpha/PixArt-Sigma-XL-2-512-MS",
    ),
    _pixart("pixart-sigma-1024", 1024, "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", sigma=True),
    _flux("flux-dev", 256),
    _flux("flux-dev-1024", 1024),
    _flux("flux-schnell", 256, schnell=True),
    _flux("flux-schnell-1024", 1024, schnell=True),
    _mini("pixart-mini", "pixart", "PixArtAlphaPipeline", guidance_scale=4.0),
    _mini("flux-mini", "flux", "FluxPipeline", guidance_scale=3.0),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
ALIASES: dict[str, str] = {
    "pixart-alpha-256": "pixart-alpha",
    "pixart-sigma-256": "pixart-sigma",
    "flux-dev-256": "flux-dev",
    "flux-schnell-256": "flux-schnell",
}
