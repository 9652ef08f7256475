"""LTX-Video: `LTXVideoTransformer3DModel` of diffusers."""

from __future__ import annotations

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
from ecad.families.layers import embedder, feed_forward, out_channels_of, whole_number, width_of

_NAME = "ltx"
_BLOCKS = "transformer_blocks"
_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ff", "feed_forward"),
)

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows.

    The paper has no such model: in its convention linear layers and convolutions count, of these rows and tokens.
    """
    config = workload.transformer
    video, text = workload.image_tokens, workload.text_tokens
    width = width_of(config)
    square = width * width
    attn1 = 4 * video * square  # queries, keys, values, output
    # queries and output; keys and values of the text
    attn2 = 2 * video * square + 2 * text * whole_number(config, "cross_attention_dim") * width
    if not is_paper:  # scores QK^T and weighted sum AV: two products of (tokens x keys x width)
        attn1 += 2 * video * video * width
        attn2 += 2 * video * text * width
    components = {
        (_BLOCKS, "attn1"): attn1,
        (_BLOCKS, "attn2"): attn2,
        (_BLOCKS, "ff"): feed_forward(video, width, config.get("activation_fn")),
    }
    constant = video * whole_number(config, "in_channels") * width  # proj_in
    constant += embedder(width) + 6 * square  # time_embed: embedder, modulation of all blocks
    constant += text * (whole_number(config, "caption_channels") * width + square)  # caption_projection
    constant += video * width * out_channels_of(config)  # proj_out
    rows = workload.rows
    return StepMacs({part: rows * count for part, count in components.items()}, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    values = workload.rows * workload.image_tokens * width_of(workload.transformer)
    return {(_BLOCKS, component.name): values for component in _COMPONENTS}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent video each, packed."""
    return workload.rows * workload.image_tokens * out_channels_of(workload.transformer)


LTX = Family(
    name=_NAME,
    transformer_classes=("LTXVideoTransformer3DModel",),
    block_lists=(BlockList(_BLOCKS, "num_layers", _COMPONENTS, sums_up=True),),
    # In its pipeline every latent pixel is a token, whatever the config's patch_size says of packing.
    sizes=Sizes(text_tokens=128, latents_per_token=1, sample_size=16, num_frames=161),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        # The class's defaults, as diffusers' scripts/convert_ltx_to_diffusers.py makes it; LTXPipeline's settings.
        Preset(
            name="ltx-video",
            family=_NAME,
            source="Lightricks/LTX-Video",
            pipeline_class="LTXPipeline",
            steps=50,
            guidance_scale=3.0,
            height=512,
            width=704,
            dtype="bfloat16",
            max_sequence_length=128,
            vae_scale_factor=32,
            num_frames=161,
            vae_temporal_factor=8,
            transformer=frozen(
                {
                    "num_layers": 28,
                    "num_attention_heads": 32,
                    "attention_head_dim": 64,
                    "cross_attention_dim": 2048,
                    "caption_channels": 4096,
                    "in_channels": 128,
                    "out_channels": 128,
                    "patch_size": 1,
                    "patch_size_t": 1,
                }
            ),
            search=frozen({"population": 24, "prompts_limit": 16, "batch_size": 1}),
        ),
    ),
)
