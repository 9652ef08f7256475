"""DiT: `DiTTransformer2DModel` of diffusers, which is told a class (of ImageNet's thousand) instead of a prompt."""

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
    PAPER_ROWS,
    embedder,
    feed_forward,
    out_channels_of,
    whole_number,
    width_of,
)

_NAME = "dit"
_BLOCKS = "transformer_blocks"
_COMPONENTS = (Component("attn1", "self_attention"), Component("ff", "feed_forward"))

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = PAPER_ROWS if is_paper else workload.rows
    image = workload.image_tokens
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2
    square = width * width
    products = 0 if is_paper else 2 * image * image * width  # scores QK^T and weighted sum AV
    components = {
        (_BLOCKS, "attn1"): rows * (4 * image * square + products),
        (_BLOCKS, "ff"): rows * feed_forward(image, width, config.get("activation_fn")),
    }
    constant = image * patch * whole_number(config, "in_channels") * width  # pos_embed.proj
    # norm1 of every block: the timestep's embedder, and the modulation. Classes are looked up.
    constant += whole_number(config, "num_layers") * (embedder(width) + 6 * square)
    # The first block's embedder once more, proj_out_1 and proj_out_2.
    constant += embedder(width) + 2 * square + image * width * patch * out_channels_of(config)
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    values = workload.rows * workload.image_tokens * width_of(workload.transformer)
    return {(_BLOCKS, component.name): values for component in _COMPONENTS}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, and its variance."""
    return (
        workload.rows * workload.latent_height * workload.latent_width * out_channels_of(workload.transformer)
    )


# --- models ---


def _preset(resolution: int) -> Preset:
    return Preset(
        name="dit-xl" if resolution == 256 else f"dit-xl-{resolution}",
        family=_NAME,
        source=f"facebook/DiT-XL-2-{resolution}",
        pipeline_class="DiTPipeline",
        steps=50,  # this and the guidance scale: DiTPipeline's defaults
        guidance_scale=4.0,
        height=resolution,
        width=resolution,
        dtype="float16",
        max_sequence_length=1,
        transformer=frozen(
            {
                "num_layers": 28,
                "num_attention_heads": 16,
                "attention_head_dim": 72,
                "in_channels": 4,
                "out_channels": 8,
                "patch_size": 2,
                "sample_size": resolution // 8,
                "activation_fn": "gelu-approximate",
            }
        ),
        note="its prompts are classes of ImageNet, by name or number",
    )


DIT = Family(
    name=_NAME,
    transformer_classes=("DiTTransformer2DModel",),
    block_lists=(BlockList(_BLOCKS, "num_layers", _COMPONENTS),),
    sizes=Sizes(text_tokens=1),  # the class
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(_preset(256), _preset(512)),
)
