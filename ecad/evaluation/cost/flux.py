"""MACs of `FluxTransformer2DModel` (diffusers)."""

from __future__ import annotations

from ecad.evaluation.cost.layers import FEED_FORWARD_FACTOR, ComponentMacs, embedder, feed_forward
from ecad.evaluation.cost.workload import Workload, whole_number

_DOUBLE = "transformer_blocks"
_SINGLE = "single_transformer_blocks"
_PAPER_ROWS = 2  # two images: the paper measured FLUX, which has no guidance pair, with a batch of two
_PAPER_TEXT_TOKENS = 512


def flux_macs(workload: Workload, is_paper: bool) -> tuple[ComponentMacs, int]:
    """(MACs per component execution, MACs per step outside of them), for all rows."""
    config = workload.transformer
    rows = _PAPER_ROWS if is_paper else workload.rows
    text = _PAPER_TEXT_TOKENS if is_paper else workload.text_tokens
    image = workload.image_tokens
    both = text + image  # attention is over both streams together; single-stream blocks see one sequence
    width = whole_number(config, "num_attention_heads") * whole_number(config, "attention_head_dim")
    in_channels = whole_number(config, "in_channels")
    out_channels = in_channels if config.get("out_channels") is None else whole_number(config, "out_channels")
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    # Scores QK^T and weighted sum AV: two products of (tokens x tokens x width).
    products = 0 if is_paper else 2 * both * both * width
    hidden = FEED_FORWARD_FACTOR * width
    components = {
        # Queries, keys, values and output, each stream by layers of its own.
        (_DOUBLE, "attn"): rows * (4 * both * square + products),
        (_DOUBLE, "ff"): rows * feed_forward(image, width),
        (_DOUBLE, "ff_context"): rows * feed_forward(text, width),
        # Queries, keys and values: the output projection is the block's proj_out, on attention and MLP side by side.
        (_SINGLE, "attn"): rows * (3 * both * square + products),
        (_SINGLE, "proj_mlp"): rows * both * width * hidden,
        (_SINGLE, "proj_out"): rows * both * (width + hidden) * width,
    }

    constant = image * in_channels * width  # x_embedder
    constant += text * whole_number(config, "joint_attention_dim") * width  # context_embedder
    constant += embedder(width)  # time_text_embed.timestep_embedder
    if config.get("guidance_embeds"):
        constant += embedder(width)  # time_text_embed.guidance_embedder
    constant += embedder(
        width, whole_number(config, "pooled_projection_dim")
    )  # time_text_embed.text_embedder
    # Modulations: six vectors for each stream of a double block (norm1, norm1_context), three for a single one.
    constant += whole_number(config, "num_layers") * 2 * 6 * square
    constant += whole_number(config, "num_single_layers") * 3 * square
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels  # proj_out
    return components, rows * constant


def flux_output_values(workload: Workload) -> dict[tuple[str, str], int]:
    """Numbers in the output of one execution of each component, for all rows; without an IP-Adapter's third tensor."""
    config = workload.transformer
    image, text = workload.image_tokens, workload.text_tokens
    width = whole_number(config, "num_attention_heads") * whole_number(config, "attention_head_dim")
    values = {
        (_DOUBLE, "attn"): (image + text) * width,  # one tensor for each stream
        (_DOUBLE, "ff"): image * width,
        (_DOUBLE, "ff_context"): text * width,
        (_SINGLE, "attn"): (image + text) * width,
        (_SINGLE, "proj_mlp"): (image + text) * FEED_FORWARD_FACTOR * width,
        (_SINGLE, "proj_out"): (image + text) * width,
    }
    return {part: workload.rows * count for part, count in values.items()}
