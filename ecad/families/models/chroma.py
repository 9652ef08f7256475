"""Chroma: `ChromaTransformer2DModel` of diffusers, a FLUX whose modulations one small network makes."""

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
from ecad.families.layers import (
    FEED_FORWARD_FACTOR,
    attention_products,
    feed_forward,
    out_channels_of,
    whole_number,
    width_of,
)

_NAME = "chroma"
_DOUBLE = "transformer_blocks"
_SINGLE = "single_transformer_blocks"

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config, rows = workload.transformer, workload.rows
    text, image = workload.text_tokens, workload.image_tokens
    both = text + image
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    products = attention_products(both, both, width, is_paper)
    hidden = FEED_FORWARD_FACTOR * width
    components: ComponentNumbers = {
        # Queries, keys, values and output, each stream by layers of its own.
        (_DOUBLE, "attn"): rows * (4 * both * square + products),
        (_DOUBLE, "ff"): rows * feed_forward(image, width),
        (_DOUBLE, "ff_context"): rows * feed_forward(text, width),
        # Queries, keys and values: the output projection is the block's proj_out, on attention and MLP side by side.
        (_SINGLE, "attn"): rows * (3 * both * square + products),
        (_SINGLE, "proj_mlp"): rows * both * width * hidden,
        (_SINGLE, "proj_out"): rows * both * (width + hidden) * width,
    }

    # distilled_guidance_layer: a vector for every modulation, three of a single block, six of each stream of a double
    # one, two of norm_out
    vectors = 3 * whole_number(config, "num_single_layers") + 2 * 6 * whole_number(config, "num_layers") + 2
    inner = whole_number(config, "approximator_hidden_dim")
    layers = whole_number(config, "approximator_num_channels") * inner + inner * width  # in_proj, out_proj
    layers += whole_number(config, "approximator_layers") * 2 * inner * inner
    constant = vectors * layers
    constant += image * whole_number(config, "in_channels") * width  # x_embedder
    constant += text * whole_number(config, "joint_attention_dim") * width  # context_embedder
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; without an IP-Adapter's third tensor."""
    width, rows = width_of(workload.transformer), workload.rows
    image, text = rows * workload.image_tokens * width, rows * workload.text_tokens * width
    return {
        (_DOUBLE, "attn"): image + text,  # one tensor for each stream
        (_DOUBLE, "ff"): image,
        (_DOUBLE, "ff_context"): text,
        (_SINGLE, "attn"): image + text,
        (_SINGLE, "proj_mlp"): FEED_FORWARD_FACTOR * (image + text),
        (_SINGLE, "proj_out"): image + text,
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, packed."""
    patch = whole_number(workload.transformer, "patch_size") ** 2
    return workload.rows * workload.image_tokens * patch * out_channels_of(workload.transformer)


# --- models ---

CHROMA = Family(
    name=_NAME,
    transformer_classes=("ChromaTransformer2DModel",),
    block_lists=(
        BlockList(
            _DOUBLE,
            "num_layers",
            (
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward"),
            ),
        ),
        BlockList(
            _SINGLE,
            "num_single_layers",
            (
                Component("attn", "joint_attention", feeds="proj_out"),
                Component("proj_mlp", "projection", feeds="proj_out"),
                Component("proj_out", "projection"),
            ),
        ),
    ),
    # ChromaPipeline packs 2 x 2 latent pixels into a token itself: the transformer's patch_size is 1.
    sizes=Sizes(text_tokens=512, latents_per_token=2, sample_size=128),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        Preset(
            name="chroma-hd",
            family=_NAME,
            source="lodestones/Chroma1-HD",
            pipeline_class="ChromaPipeline",
            # Steps and guidance scale of its model card; two passes a step.
            steps=40,
            guidance_scale=3.0,
            height=1024,
            width=1024,
            dtype="bfloat16",
            max_sequence_length=512,
            transformer=frozen(
                {
                    "patch_size": 1,
                    "in_channels": 64,
                    "num_layers": 19,
                    "num_single_layers": 38,
                    "num_attention_heads": 24,
                    "attention_head_dim": 128,
                    "joint_attention_dim": 4096,
                    "approximator_num_channels": 64,
                    "approximator_hidden_dim": 5120,
                    "approximator_layers": 5,
                }
            ),
        ),
    ),
)
