"""Lumina-Image 2.0: `Lumina2Transformer2DModel` of diffusers."""

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
    PAPER_ROWS,
    embedder,
    number,
    out_channels_of,
    whole_number,
)

_NAME = "lumina2"
_NOISE, _CONTEXT, _JOINT = "noise_refiner", "context_refiner", "layers"
_COMPONENTS = (Component("attn", "joint_attention"), Component("feed_forward", "feed_forward"))
_ALONE = (Component("attn", "self_attention"), Component("feed_forward", "feed_forward"))

# --- costs ---

_MOST_CONDITION = 1024  # channels of the vector that modulates, at most


def _parts(workload: Workload) -> tuple[tuple[str, int], ...]:
    """Tokens of a row in each block list. The last leaves out a prompt's padding: here it is as long as can be."""
    image, text = workload.image_tokens, workload.text_tokens
    return (_NOISE, image), (_CONTEXT, text), (_JOINT, image + text)


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = PAPER_ROWS if is_paper else workload.rows
    image, text = workload.image_tokens, workload.text_tokens
    width = whole_number(config, "hidden_size")
    # Several heads share keys and values.
    shared = width // whole_number(config, "num_attention_heads") * whole_number(config, "num_kv_heads")
    multiple = whole_number(config, "multiple_of")
    hidden = FEED_FORWARD_FACTOR * width
    if config.get("ffn_dim_multiplier") is not None:
        hidden = int(number(config, "ffn_dim_multiplier") * hidden)
    hidden = multiple * -(-hidden // multiple)
    patch = whole_number(config, "patch_size") ** 2

    components = {}
    for name, tokens in _parts(workload):
        products = 0 if is_paper else 2 * tokens * tokens * width
        # queries and output, keys and values
        components[name, "attn"] = rows * (2 * tokens * width * (width + shared) + products)
        components[name, "feed_forward"] = rows * 3 * tokens * width * hidden

    modulated = whole_number(config, "num_refiner_layers") + whole_number(config, "num_layers")
    condition = min(width, _MOST_CONDITION)
    constant = image * patch * whole_number(config, "in_channels") * width  # x_embedder
    constant += embedder(condition)  # time_caption_embed.timestep_embedder
    constant += text * whole_number(config, "cap_feat_dim") * width  # time_caption_embed.caption_embedder
    constant += modulated * condition * 4 * width  # norm1 of each block; the context's has no modulation
    # norm_out: its modulation, and the projection of text tokens, too
    constant += condition * width + (image + text) * width * patch * out_channels_of(config)
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    each = workload.rows * whole_number(workload.transformer, "hidden_size")
    return {
        (name, component.name): each * tokens
        for name, tokens in _parts(workload)
        for component in _COMPONENTS
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each."""
    return (
        workload.rows * workload.latent_height * workload.latent_width * out_channels_of(workload.transformer)
    )


# --- models ---

LUMINA2 = Family(
    name=_NAME,
    transformer_classes=("Lumina2Transformer2DModel",),
    block_lists=(
        BlockList(_NOISE, "num_refiner_layers", _ALONE),
        BlockList(_CONTEXT, "num_refiner_layers", _ALONE),  # sees no timestep: reusing it is exact
        BlockList(_JOINT, "num_layers", _COMPONENTS),
    ),
    sizes=Sizes(text_tokens=256),  # Lumina2Pipeline pads prompts to so many
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        Preset(
            name="lumina-image-2.0",
            family=_NAME,
            source="Alpha-VLLM/Lumina-Image-2.0",
            pipeline_class="Lumina2Pipeline",
            steps=30,  # this and the guidance scale: Lumina2Pipeline's defaults
            guidance_scale=4.0,
            height=1024,
            width=1024,
            dtype="bfloat16",
            max_sequence_length=256,
            transformer=frozen(
                {
                    "hidden_size": 2304,
                    "num_layers": 26,
                    "num_refiner_layers": 2,
                    "num_attention_heads": 24,
                    "num_kv_heads": 8,
                    "multiple_of": 256,
                    "ffn_dim_multiplier": None,
                    "in_channels": 16,
                    "patch_size": 2,
                    "sample_size": 128,
                    "cap_feat_dim": 2304,
                }
            ),
        ),
    ),
)
