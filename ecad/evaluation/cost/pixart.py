"""MACs of `PixArtTransformer2DModel` (diffusers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecad.evaluation.cost.layers import ComponentMacs, embedder, feed_forward
from ecad.evaluation.cost.workload import Workload, whole_number

_BLOCKS = "transformer_blocks"
_PAPER_ROWS = 2  # the guidance pair of one image
_PAPER_TEXT_TOKENS = 120


def pixart_macs(workload: Workload, is_paper: bool) -> tuple[ComponentMacs, int]:
    """(MACs per component execution, MACs per step outside of them), for all rows."""
    config = workload.transformer
    rows = _PAPER_ROWS if is_paper else workload.rows
    text = _PAPER_TEXT_TOKENS if is_paper else workload.text_tokens
    image = workload.image_tokens
    width = whole_number(config, "num_attention_heads") * whole_number(config, "attention_head_dim")
    patch = whole_number(config, "patch_size") ** 2  # latent pixels of one image token
    in_channels = whole_number(config, "in_channels")
    out_channels = in_channels if config.get("out_channels") is None else whole_number(config, "out_channels")
    has_captions = config.get("caption_channels") is not None
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

    constant = image * patch * in_channels * width  # pos_embed.proj, a convolution whose stride is its size
    constant += embedder(width)  # adaln_single.emb.timestep_embedder
    if _has_size_conditions(config):  # resolution (two numbers) and aspect ratio, a third of the width each
        constant += 3 * embedder(width // 3)
    constant += width * 6 * width  # adaln_single.linear, the modulation of all blocks
    if has_captions:
        constant += text * (whole_number(config, "caption_channels") * width + square)  # caption_projection
    constant += image * width * patch * out_channels  # proj_out
    return components, rows * constant


def pixart_output_values(workload: Workload) -> dict[tuple[str, str], int]:
    """Numbers in the output of one execution of each component, for all rows: every one is as wide as the model."""
    config = workload.transformer
    width = whole_number(config, "num_attention_heads") * whole_number(config, "attention_head_dim")
    values = workload.rows * workload.image_tokens * width
    return {(_BLOCKS, component): values for component in ("attn1", "attn2", "ff")}


def _has_size_conditions(config: Mapping[str, Any]) -> bool:
    """As in diffusers: by default only the 1024-pixel model (sample_size 128) has them."""
    value = config.get("use_additional_conditions")
    return bool(config.get("sample_size", 128) == 128) if value is None else bool(value)
