"""PixArt-alpha and PixArt-Sigma: `PixArtTransformer2DModel` of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecad.families.family import (
    BlockList,
    Component,
    ComponentNumbers,
    Family,
    Formulas,
    OfficialNames,
    Preset,
    Sizes,
    StepMacs,
    Workload,
    frozen,
)
from ecad.families.layers import embedder, feed_forward, out_channels_of, whole_number, width_of
from ecad.families.mini import mini_preset

_NAME = "pixart"
_BLOCKS = "transformer_blocks"
_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ff", "feed_forward"),
)

# --- costs ---

_PAPER_ROWS = 2  # the guidance pair of one image
_PAPER_TEXT_TOKENS = 120


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = _PAPER_ROWS if is_paper else workload.rows
    text = _PAPER_TEXT_TOKENS if is_paper else workload.text_tokens
    image = workload.image_tokens
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2  # latent pixels of one image token
    text_width = whole_number(config, "cross_attention_dim")  # of the text that cross-attention sees

    square = width * width
    attn1 = 4 * image * square  # queries, keys, values, output
    # queries and output; keys and values of the text
    attn2 = 2 * image * square + 2 * text * text_width * width
    if not is_paper:  # scores QK^T and weighted sum AV: two products of (image x keys x width)
        attn1 += 2 * image * image * width
        attn2 += 2 * image * text * width
    components = {
        (_BLOCKS, "attn1"): rows * attn1,
        (_BLOCKS, "attn2"): rows * attn2,
        (_BLOCKS, "ff"): rows * feed_forward(image, width, config.get("activation_fn")),
    }

    # pos_embed.proj, a convolution whose stride is its size
    constant = image * patch * whole_number(config, "in_channels") * width
    constant += embedder(width)  # adaln_single.emb.timestep_embedder
    if _has_size_conditions(config):  # resolution (two numbers) and aspect ratio, a third of the width each
        constant += 3 * embedder(width // 3)
    constant += width * 6 * width  # adaln_single.linear, the modulation of all blocks
    if config.get("caption_channels") is not None:  # caption_projection
        constant += text * (whole_number(config, "caption_channels") * width + square)
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    values = workload.rows * workload.image_tokens * width_of(workload.transformer)
    return {(_BLOCKS, component.name): values for component in _COMPONENTS}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each."""
    return (
        workload.rows * workload.latent_height * workload.latent_width * out_channels_of(workload.transformer)
    )


def _has_size_conditions(config: Mapping[str, Any]) -> bool:
    """As in diffusers: by default only the 1024-pixel model (sample_size 128) has them."""
    value = config.get("use_additional_conditions")
    return bool(config.get("sample_size", 128) == 128) if value is None else bool(value)


# --- models ---

_XL = {
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "patch_size": 2,
    "caption_channels": 4096,
    "cross_attention_dim": 1152,
}
_SIGMA_PIPELINE = "PixArt-alpha/pixart_sigma_sdxlvae_T5_diffusers"  # text encoder, VAE and scheduler of Sigma


def _preset(
    name: str, resolution: int, source: str, *, sigma: bool = False, transformer_source: str | None = None
) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
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
        transformer=frozen(
            {
                **_XL,
                "sample_size": resolution // 8,
                # Only Alpha-1024 was trained with resolution and aspect-ratio embeddings.
                "use_additional_conditions": resolution == 1024 and not sigma,
            }
        ),
        # The population of the ECAD paper (arXiv 2506.15682), which searched on 100 prompts.
        search=frozen({"population": 72, "prompts_limit": 100}),
        aliases=(f"{name}-256",) if resolution == 256 else (),
    )


PIXART = Family(
    name=_NAME,
    transformer_classes=("PixArtTransformer2DModel",),
    block_lists=(
        BlockList(
            _BLOCKS,
            "num_layers",
            _COMPONENTS,
            official=OfficialNames("num_blocks", "", ("attn1", "attn2", "ff")),
            sums_up=True,
        ),
    ),
    sizes=Sizes(text_tokens=120),  # of PixArtAlphaPipeline
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("pixart-alpha", 256, "PixArt-alpha/PixArt-XL-2-256x256"),
        _preset("pixart-alpha-512", 512, "PixArt-alpha/PixArt-XL-2-512x512"),
        _preset("pixart-alpha-1024", 1024, "PixArt-alpha/PixArt-XL-2-1024-MS"),
        _preset(
            "pixart-sigma",
            256,
            _SIGMA_PIPELINE,
            sigma=True,
            transformer_source="PixArt-alpha/PixArt-Sigma-XL-2-256x256",
        ),
        _preset(
            "pixart-sigma-512",
            512,
            _SIGMA_PIPELINE,
            sigma=True,
            transformer_source="PixArt-alpha/PixArt-Sigma-XL-2-512-MS",
        ),
        _preset("pixart-sigma-1024", 1024, "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", sigma=True),
        mini_preset(
            "pixart-mini",
            _NAME,
            "PixArtAlphaPipeline",
            guidance_scale=4.0,
            population=40,
            search_prompts=16,
            selection_prompts=120,
            heldout_prompts=24,
        ),
    ),
)
