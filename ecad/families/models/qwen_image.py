"""Qwen-Image: `QwenImageTransformer2DModel` of diffusers."""

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

_NAME = "qwen-image"
_BLOCKS = "transformer_blocks"

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config, rows = workload.transformer, workload.rows
    text, image = workload.text_tokens, workload.image_tokens
    both = text + image
    width = width_of(config)
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    components: ComponentNumbers = {
        # Queries, keys, values and output of each stream; attention is over both.
        (_BLOCKS, "attn"): rows * (4 * both * square + attention_products(both, both, width, is_paper)),
        (_BLOCKS, "img_mlp"): rows * feed_forward(image, width),
        (_BLOCKS, "txt_mlp"): rows * feed_forward(text, width),
    }

    # Editing models modulate the pictures that they are given as at timestep 0.
    timesteps = 2 if config.get("zero_cond_t") else 1
    constant = image * whole_number(config, "in_channels") * width  # img_in
    constant += text * whole_number(config, "joint_attention_dim") * width  # txt_in
    constant += timesteps * embedder(width)  # time_text_embed.timestep_embedder
    # img_mod and txt_mod: six vectors for each stream
    constant += whole_number(config, "num_layers") * (timesteps + 1) * 6 * square
    constant += feed_forward(text, width)  # txt_mlp of the last block
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; of `attn` one tensor per stream."""
    width, rows = width_of(workload.transformer), workload.rows
    image, text = rows * workload.image_tokens * width, rows * workload.text_tokens * width
    return {(_BLOCKS, "attn"): image + text, (_BLOCKS, "img_mlp"): image, (_BLOCKS, "txt_mlp"): text}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, packed."""
    patch = whole_number(workload.transformer, "patch_size") ** 2
    return workload.rows * workload.image_tokens * patch * out_channels_of(workload.transformer)


# --- models ---

QWEN_IMAGE = Family(
    name=_NAME,
    transformer_classes=("QwenImageTransformer2DModel",),
    block_lists=(
        BlockList(
            _BLOCKS,
            "num_layers",
            (
                Component("attn", "joint_attention"),
                Component("img_mlp", "feed_forward"),
                # The last block has one, too, whose output nobody reads: it is always computed, as a part of the rest.
                Component("txt_mlp", "feed_forward", missing_in=(-1,)),
            ),
        ),
    ),
    # QwenImagePipeline packs 2 x 2 latent pixels into a token itself, and does not pad: costs are told for a prompt of
    # 128 tokens, a detailed one. Of 1328 x 1328 pixels there are 6889 tokens beside it.
    sizes=Sizes(text_tokens=128, latents_per_token=2, sample_size=128, pads_text=False),
    guidance_setting="true_cfg_scale",
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        Preset(
            name="qwen-image",
            family=_NAME,
            source="Qwen/Qwen-Image",
            pipeline_class="QwenImagePipeline",
            # Steps, scale and the square size of its model card. It has no guidance embedding to read guidance_scale.
            steps=50,
            guidance_scale=1.0,
            true_cfg_scale=4.0,
            height=1328,
            width=1328,
            dtype="bfloat16",
            max_sequence_length=512,
            transformer=frozen(
                {
                    "patch_size": 2,
                    "in_channels": 64,
                    "out_channels": 16,
                    "num_layers": 60,
                    "num_attention_heads": 24,
                    "attention_head_dim": 128,
                    "joint_attention_dim": 3584,
                    "guidance_embeds": False,
                }
            ),
        ),
    ),
)
