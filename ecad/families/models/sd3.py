"""Stable Diffusion 3 and 3.5: `SD3Transformer2DModel` of diffusers."""

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
    attention_products,
    embedder,
    feed_forward,
    out_channels_of,
    whole_number,
    width_of,
)

_NAME = "sd3"
_BLOCKS = "transformer_blocks"
_DUAL = "dual_attention_blocks"
_COMPONENTS = (
    Component("attn", "joint_attention"),
    Component("ff", "feed_forward"),
    Component("ff_context", "feed_forward", missing_in=(-1,)),  # nobody reads the text after the last block
)

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config, rows = workload.transformer, workload.rows
    text, image = workload.text_tokens, workload.image_tokens
    both = text + image
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2  # latent pixels of one image token
    blocks = whole_number(config, "num_layers")
    dual = SD3.block_counts(config)[_DUAL]
    text_width = whole_number(config, "joint_attention_dim")

    square = width * width
    # Queries, keys, values and output of each stream; attention is over both.
    attn = 4 * both * square + attention_products(both, both, width, is_paper)
    attn2 = 4 * image * square + attention_products(image, image, width, is_paper)
    components: ComponentNumbers = {
        # The last block does not project its text.
        (_BLOCKS, "attn"): (rows * attn,) * (blocks - 1) + (rows * (attn - text * square),),
        (_BLOCKS, "ff"): rows * feed_forward(image, width),
        (_BLOCKS, "ff_context"): rows * feed_forward(text, width),
        (_DUAL, "attn2"): rows * attn2,
    }

    constant = image * patch * whole_number(config, "in_channels") * width  # pos_embed.proj
    constant += text * text_width * whole_number(config, "caption_projection_dim")  # context_embedder
    constant += embedder(width)  # time_text_embed.timestep_embedder
    # time_text_embed.text_embedder
    constant += embedder(width, whole_number(config, "pooled_projection_dim"))
    # Modulations: six vectors for each stream of a block (norm1, norm1_context), two for the text of the last one, and
    # three more where there is a second attention.
    constant += (blocks * 6 + (blocks - 1) * 6 + 2 + dual * 3) * square
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; of `attn` one tensor per stream."""
    width, rows = width_of(workload.transformer), workload.rows
    image, text = rows * workload.image_tokens * width, rows * workload.text_tokens * width
    return {
        (_BLOCKS, "attn"): image + text,
        (_BLOCKS, "ff"): image,
        (_BLOCKS, "ff_context"): text,
        (_DUAL, "attn2"): image,
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each."""
    return (
        workload.rows * workload.latent_height * workload.latent_width * out_channels_of(workload.transformer)
    )


# --- models ---


def _preset(
    name: str,
    source: str,
    *,
    steps: int,
    guidance_scale: float,
    blocks: int,
    dual: int = 0,
    positions: int = 192,
    has_qk_norm: bool = True,
    dtype: str = "bfloat16",
) -> Preset:
    """The numbers are those of diffusers' conversion script: as many heads as blocks."""
    return Preset(
        name=name,
        family=_NAME,
        source=source,
        pipeline_class="StableDiffusion3Pipeline",
        steps=steps,
        guidance_scale=guidance_scale,
        height=1024,
        width=1024,
        dtype=dtype,
        max_sequence_length=256,
        transformer=frozen(
            {
                "sample_size": 128,
                "patch_size": 2,
                "in_channels": 16,
                "out_channels": 16,
                "num_layers": blocks,
                "num_attention_heads": blocks,
                "attention_head_dim": 64,
                "joint_attention_dim": 4096,
                "caption_projection_dim": blocks * 64,
                "pooled_projection_dim": 2048,
                "pos_embed_max_size": positions,
                **({"dual_attention_layers": tuple(range(dual))} if dual else {}),
                **({"qk_norm": "rms_norm"} if has_qk_norm else {}),
            }
        ),
    )


SD3 = Family(
    name=_NAME,
    transformer_classes=("SD3Transformer2DModel",),
    block_lists=(
        BlockList(_BLOCKS, "num_layers", _COMPONENTS),
        # A second attention, of the image alone, beside the joint one: in the first blocks of 3.5-medium.
        BlockList(
            _DUAL,
            "dual_attention_layers",
            (Component("attn2", "self_attention"),),
            path="transformer_blocks.*",
            is_optional=True,
        ),
    ),
    # StableDiffusion3Pipeline pads what T5 says of a prompt to 256 tokens, after the 77 of CLIP.
    sizes=Sizes(text_tokens=256, further_text_tokens=77),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        # Steps and guidance scales are those of the model cards.
        _preset(
            "sd3-medium",
            "stabilityai/stable-diffusion-3-medium-diffusers",
            steps=28,
            guidance_scale=7.0,
            blocks=24,
            has_qk_norm=False,
            dtype="float16",
        ),
        _preset(
            "sd3.5-medium",
            "stabilityai/stable-diffusion-3.5-medium",
            steps=40,
            guidance_scale=4.5,
            blocks=24,
            dual=13,
            positions=384,
        ),
        _preset(
            "sd3.5-large",
            "stabilityai/stable-diffusion-3.5-large",
            steps=28,
            guidance_scale=3.5,
            blocks=38,
        ),
    ),
)
