"""AuraFlow: `AuraFlowTransformer2DModel` of diffusers."""

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
from ecad.families.layers import attention_products, embedder, out_channels_of, whole_number, width_of

_NAME = "auraflow"
_JOINT = "joint_transformer_blocks"
_SINGLE = "single_transformer_blocks"
_REGISTER_TOKENS = 8  # of the transformer's own, before the text's

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config, rows = workload.transformer, workload.rows
    text, image = workload.text_tokens, workload.image_tokens
    both = text + image
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2  # latent pixels of one image token

    square = width * width
    # Queries, keys, values and output, in joint blocks of each stream; attention is over all tokens in all blocks.
    attention = rows * (4 * both * square + attention_products(both, both, width, is_paper))
    components: ComponentNumbers = {
        (_JOINT, "attn"): attention,
        (_JOINT, "ff"): rows * _feed_forward(image, width),
        (_JOINT, "ff_context"): rows * _feed_forward(text, width),
        (_SINGLE, "attn"): attention,
        (_SINGLE, "ff"): rows * _feed_forward(both, width),
    }

    constant = image * patch * whole_number(config, "in_channels") * width  # pos_embed.proj
    # context_embedder
    prompt = text - _REGISTER_TOKENS
    constant += (
        prompt * whole_number(config, "joint_attention_dim") * whole_number(config, "caption_projection_dim")
    )
    constant += embedder(width)  # time_step_proj
    # Modulations: six vectors for each stream of a joint block (norm1, norm1_context), six for a single one.
    constant += whole_number(config, "num_mmdit_layers") * 2 * 6 * square
    constant += whole_number(config, "num_single_dit_layers") * 6 * square
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; of the joint `attn` one tensor per
    stream."""
    width, rows = width_of(workload.transformer), workload.rows
    image, text = rows * workload.image_tokens * width, rows * workload.text_tokens * width
    return {
        (_JOINT, "attn"): image + text,
        (_JOINT, "ff"): image,
        (_JOINT, "ff_context"): text,
        (_SINGLE, "attn"): image + text,
        (_SINGLE, "ff"): image + text,
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each."""
    return (
        workload.rows * workload.latent_height * workload.latent_width * out_channels_of(workload.transformer)
    )


def _feed_forward(tokens: int, width: int) -> int:
    """`AuraFlowFeedForward`: values, gates and output, two thirds of four times as wide, up to a multiple of 256."""
    hidden = -(-int(2 * 4 * width / 3) // 256) * 256
    return 3 * tokens * width * hidden


# --- models ---

AURAFLOW = Family(
    name=_NAME,
    transformer_classes=("AuraFlowTransformer2DModel",),
    block_lists=(
        BlockList(
            _JOINT,
            "num_mmdit_layers",
            (
                # The residual goes round attention and feed-forward together, so that only feed-forwards read the
                # attention: both of them, and `feeds` can name but one.
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward"),
            ),
        ),
        BlockList(
            _SINGLE,
            "num_single_dit_layers",
            (Component("attn", "joint_attention", feeds="ff"), Component("ff", "feed_forward")),
        ),
    ),
    # AuraFlowPipeline makes 1024 x 1024 pixels by default, whatever the config's sample_size is.
    sizes=Sizes(text_tokens=256, sample_size=128, further_text_tokens=_REGISTER_TOKENS),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        Preset(
            name="auraflow",
            family=_NAME,
            source="fal/AuraFlow",
            pipeline_class="AuraFlowPipeline",
            steps=50,  # and the guidance scale of its model card
            guidance_scale=3.5,
            height=1024,
            width=1024,
            dtype="float16",
            max_sequence_length=256,
            transformer=frozen(
                {
                    "patch_size": 2,
                    "in_channels": 4,
                    "out_channels": 4,
                    "num_mmdit_layers": 4,
                    "num_single_dit_layers": 32,
                    "num_attention_heads": 12,
                    "attention_head_dim": 256,
                    "joint_attention_dim": 2048,
                    "caption_projection_dim": 3072,
                }
            ),
        ),
    ),
)
