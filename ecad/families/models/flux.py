"""FLUX.1-dev and schnell: `FluxTransformer2DModel` of diffusers."""

from __future__ import annotations

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
from ecad.families.layers import (
    FEED_FORWARD_FACTOR,
    embedder,
    feed_forward,
    out_channels_of,
    whole_number,
    width_of,
)
from ecad.families.mini import mini_preset

_NAME = "flux"
_DOUBLE = "transformer_blocks"
_SINGLE = "single_transformer_blocks"

# --- costs ---

_PAPER_ROWS = 2  # two images: the paper measured FLUX, which has no guidance pair, with a batch of two
_PAPER_TEXT_TOKENS = 512


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = _PAPER_ROWS if is_paper else workload.rows
    text = _PAPER_TEXT_TOKENS if is_paper else workload.text_tokens
    image = workload.image_tokens
    both = text + image  # attention is over both streams together; single-stream blocks see one sequence
    width = width_of(config)
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

    constant = image * whole_number(config, "in_channels") * width  # x_embedder
    constant += text * whole_number(config, "joint_attention_dim") * width  # context_embedder
    constant += embedder(width)  # time_text_embed.timestep_embedder
    if config.get("guidance_embeds"):
        constant += embedder(width)  # time_text_embed.guidance_embedder
    # time_text_embed.text_embedder
    constant += embedder(width, whole_number(config, "pooled_projection_dim"))
    # Modulations: six vectors for each stream of a double block (norm1, norm1_context), three for a single one.
    constant += whole_number(config, "num_layers") * 2 * 6 * square
    constant += whole_number(config, "num_single_layers") * 3 * square
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; without an IP-Adapter's third tensor."""
    image, text = workload.image_tokens, workload.text_tokens
    width = width_of(workload.transformer)
    values = {
        (_DOUBLE, "attn"): (image + text) * width,  # one tensor for each stream
        (_DOUBLE, "ff"): image * width,
        (_DOUBLE, "ff_context"): text * width,
        (_SINGLE, "attn"): (image + text) * width,
        (_SINGLE, "proj_mlp"): (image + text) * FEED_FORWARD_FACTOR * width,
        (_SINGLE, "proj_out"): (image + text) * width,
    }
    return {part: workload.rows * count for part, count in values.items()}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, packed."""
    patch = whole_number(workload.transformer, "patch_size") ** 2
    return workload.rows * workload.image_tokens * patch * out_channels_of(workload.transformer)


# --- models ---

_ONE = {
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 64,
    "patch_size": 1,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
}


def _preset(name: str, resolution: int, *, schnell: bool = False) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source="black-forest-labs/FLUX.1-schnell" if schnell else "black-forest-labs/FLUX.1-dev",
        pipeline_class="FluxPipeline",
        # Dev is searched with the 20 steps and the guidance of the ECAD paper; schnell is distilled to 4 steps.
        steps=4 if schnell else 20,
        guidance_scale=0.0 if schnell else 5.0,
        height=resolution,
        width=resolution,
        dtype="bfloat16",
        max_sequence_length=256 if schnell else 512,
        transformer=frozen({**_ONE, "guidance_embeds": not schnell}),
        # The population of the ECAD paper (arXiv 2506.15682) for FLUX.
        search=frozen({"population": 24, "prompts_limit": 100}),
        aliases=(f"{name}-256",) if resolution == 256 else (),
    )


FLUX = Family(
    name=_NAME,
    transformer_classes=("FluxTransformer2DModel",),
    block_lists=(
        # Double-stream blocks: attention over text and image together, then a feed-forward for each stream.
        BlockList(
            _DOUBLE,
            "num_layers",
            (
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward"),
            ),
            official=OfficialNames("num_blocks", "", ("full_attn", "full_ff", "full_ff_context")),
        ),
        # Single-stream blocks: attention and MLP side by side, joined by one output projection.
        BlockList(
            _SINGLE,
            "num_single_layers",
            (
                Component("attn", "joint_attention", feeds="proj_out"),
                Component("proj_mlp", "projection", feeds="proj_out"),
                Component("proj_out", "projection"),
            ),
            official=OfficialNames(
                "num_single_blocks", "single_", ("single_attn", "single_proj_mlp", "single_proj_out")
            ),
        ),
    ),
    # FluxPipeline packs 2 x 2 latent pixels into a token itself: the transformer's patch_size is 1.
    sizes=Sizes(text_tokens=512, latents_per_token=2, sample_size=128),
    guidance_setting="true_cfg_scale",
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("flux-dev", 256),
        _preset("flux-dev-1024", 1024),
        _preset("flux-schnell", 256, schnell=True),
        _preset("flux-schnell-1024", 1024, schnell=True),
        mini_preset(
            "flux-mini",
            _NAME,
            "FluxPipeline",
            guidance_scale=3.0,
            population=44,
            search_prompts=24,
            selection_prompts=128,
            heldout_prompts=24,
        ),
    ),
)
