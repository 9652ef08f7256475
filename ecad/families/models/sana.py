"""Sana, SANA-1.5 and Sana-Sprint: `SanaTransformer2DModel` of diffusers, at 32 pixels a token each way."""

from __future__ import annotations

from typing import Any

from ecad.families.family import (
    BlockList,
    Component,
    ComponentNumbers,
    Family,
    Formulas,
    Preset,
    Sizes,
    StepMacs,
    Workload,
    frozen,
)
from ecad.families.layers import PAPER_ROWS, embedder, number, out_channels_of, whole_number, width_of

_NAME = "sana"
_BLOCKS = "transformer_blocks"
_COMPONENTS = (
    Component("attn1", "self_attention"),  # linear: no scores of tokens with tokens
    Component("attn2", "cross_attention"),
    Component("ff", "feed_forward"),  # convolutions, on (rows, channels, height, width)
)

# --- costs ---

_KERNEL = 3 * 3  # of the depthwise convolution inside the feed-forward


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = PAPER_ROWS if is_paper else workload.rows
    image, text = workload.image_tokens, workload.text_tokens
    width = width_of(config)
    head = whole_number(config, "attention_head_dim")
    text_width = whole_number(config, "cross_attention_dim")
    cross = whole_number(config, "num_cross_attention_heads") * whole_number(
        config, "cross_attention_head_dim"
    )
    hidden = int(number(config, "mlp_ratio") * width)
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    attn1 = 4 * image * square  # queries, keys, values, output
    # queries and output; keys and values of the text
    attn2 = 2 * image * width * cross + 2 * text * text_width * cross
    if not is_paper:
        # Of each head values and a row of ones times keys, and that times queries: (head + 1) x head x tokens, twice.
        attn1 += 2 * image * (head + 1) * width
        attn2 += 2 * image * text * cross  # scores QK^T and weighted sum AV
    # conv_inverted to values and gates, conv_depth on each of their channels, conv_point
    ff = image * (width * 2 * hidden + 2 * hidden * _KERNEL + hidden * width)
    components = {
        (_BLOCKS, "attn1"): rows * attn1,
        (_BLOCKS, "attn2"): rows * attn2,
        (_BLOCKS, "ff"): rows * ff,
    }

    constant = image * patch * whole_number(config, "in_channels") * width  # patch_embed.proj
    constant += embedder(width)  # time_embed: the timestep
    if config.get("guidance_embeds"):
        constant += embedder(width)  # time_embed.guidance_embedder
    constant += width * 6 * width  # time_embed.linear, the modulation of all blocks
    constant += text * (whole_number(config, "caption_channels") * width + square)  # caption_projection
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


# --- models ---

# The numbers of diffusers' scripts/convert_sana_to_diffusers.py.
_COMMON: dict[str, Any] = {
    "in_channels": 32,
    "out_channels": 32,
    "attention_head_dim": 32,
    "caption_channels": 2304,
    "mlp_ratio": 2.5,
    "patch_size": 1,
}
_1600M: dict[str, Any] = {
    **_COMMON,
    "num_attention_heads": 70,
    "num_layers": 20,
    "num_cross_attention_heads": 20,
    "cross_attention_head_dim": 112,
    "cross_attention_dim": 2240,
}
_600M: dict[str, Any] = {
    **_COMMON,
    "num_attention_heads": 36,
    "num_layers": 28,
    "num_cross_attention_heads": 16,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 1152,
}


def _preset(
    name: str, repository: str, transformer: dict[str, Any], resolution: int = 1024, dtype: str = "float16"
) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source=f"Efficient-Large-Model/{repository}",
        pipeline_class="SanaPipeline",
        # SanaPipeline's defaults; the dtypes are those that diffusers' page on Sana recommends.
        steps=20,
        guidance_scale=4.5,
        height=resolution,
        width=resolution,
        dtype=dtype,
        max_sequence_length=300,
        vae_scale_factor=32,
        transformer=frozen({**transformer, "sample_size": resolution // 32}),
    )


SANA = Family(
    name=_NAME,
    transformer_classes=("SanaTransformer2DModel",),
    block_lists=(BlockList(_BLOCKS, "num_layers", _COMPONENTS),),
    sizes=Sizes(text_tokens=300),  # of SanaPipeline
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("sana-1600m", "Sana_1600M_1024px_diffusers", _1600M),
        _preset("sana-1600m-512", "Sana_1600M_512px_diffusers", _1600M, 512),
        _preset("sana-600m", "Sana_600M_1024px_diffusers", _600M),
        _preset("sana-600m-512", "Sana_600M_512px_diffusers", _600M, 512),
        _preset(
            "sana-1.5-4800m",
            "SANA1.5_4.8B_1024px_diffusers",
            {**_1600M, "num_layers": 60, "qk_norm": "rms_norm_across_heads"},
            dtype="bfloat16",
        ),
    ),
)
