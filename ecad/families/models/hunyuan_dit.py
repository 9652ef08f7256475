"""HunyuanDiT: `HunyuanDiT2DModel` of diffusers, whose last blocks also read what the first ones returned."""

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
from ecad.families.layers import PAPER_ROWS, SINUSOIDAL_CHANNELS, embedder, number, whole_number, width_of

_NAME = "hunyuan-dit"
_BLOCKS = "blocks"
_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ff", "feed_forward"),
)

# --- costs ---

_SIZES = 6  # original size, target size and crop: numbers that are embedded one by one


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = PAPER_ROWS if is_paper else workload.rows
    image = workload.image_tokens
    # Of two text encoders; a learnt vector stands for what is padding.
    text_t5 = whole_number(config, "text_len_t5")
    text = whole_number(config, "text_len") + text_t5
    text_width = whole_number(config, "cross_attention_dim")
    t5_width = whole_number(config, "cross_attention_dim_t5")
    width = width_of(config)
    hidden = int(width * number(config, "mlp_ratio"))
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    attn1 = 4 * image * square  # queries, keys, values, output
    attn2 = 2 * image * square + 2 * text * text_width * width
    if not is_paper:  # scores QK^T and weighted sum AV
        attn1 += 2 * image * image * width
        attn2 += 2 * image * text * width
    components = {
        (_BLOCKS, "attn1"): rows * attn1,
        (_BLOCKS, "attn2"): rows * attn2,
        (_BLOCKS, "ff"): rows * image * width * hidden * (3 if config.get("activation_fn") == "geglu" else 2),
    }

    constant = image * patch * whole_number(config, "in_channels") * width  # pos_embed.proj
    constant += text_t5 * 4 * t5_width * (t5_width + text_width)  # text_embedder
    # time_extra_emb: the timestep; one query, the mean, attends to it and the T5 tokens; both with sizes and style.
    constant += embedder(width)
    pooled = whole_number(config, "pooled_projection_dim")
    constant += (2 * text_t5 + 3) * t5_width * t5_width + t5_width * pooled
    constant += 0 if is_paper else 2 * (text_t5 + 1) * t5_width
    conditions = pooled
    if config.get("use_style_cond_and_image_meta_size", True):
        conditions += _SIZES * SINUSOIDAL_CHANNELS + width
    constant += 4 * width * (conditions + width)
    blocks = whole_number(config, "num_layers")
    constant += blocks * square  # norm1, a shift
    constant += (
        (blocks - blocks // 2 - 1) * image * 2 * square
    )  # skip_linear, in the blocks after the middle one
    constant += 2 * square  # norm_out
    constant += image * width * patch * _out_channels(workload)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    values = workload.rows * workload.image_tokens * width_of(workload.transformer)
    return {(_BLOCKS, component.name): values for component in _COMPONENTS}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, and its variance."""
    return workload.rows * workload.latent_height * workload.latent_width * _out_channels(workload)


def _out_channels(workload: Workload) -> int:
    config = workload.transformer
    return whole_number(config, "in_channels") * (2 if config.get("learn_sigma", True) else 1)


# --- models ---


def _preset(version: str, *, has_style: bool) -> Preset:
    return Preset(
        name=f"hunyuan-dit-{version}",
        family=_NAME,
        source=f"Tencent-Hunyuan/HunyuanDiT-{version}-Diffusers",
        pipeline_class="HunyuanDiTPipeline",
        steps=50,  # this and the guidance scale: HunyuanDiTPipeline's defaults
        guidance_scale=5.0,
        height=1024,
        width=1024,
        dtype="float16",
        max_sequence_length=256,
        transformer=frozen(
            {
                "num_layers": 40,
                "num_attention_heads": 16,
                "attention_head_dim": 88,
                "hidden_size": 1408,
                "in_channels": 4,
                "patch_size": 2,
                "sample_size": 128,
                "mlp_ratio": 4.3637,
                "activation_fn": "gelu-approximate",
                "learn_sigma": True,
                "cross_attention_dim": 1024,
                "cross_attention_dim_t5": 2048,
                "pooled_projection_dim": 1024,
                "text_len": 77,
                "text_len_t5": 256,
                "use_style_cond_and_image_meta_size": has_style,
            }
        ),
    )


HUNYUAN_DIT = Family(
    name=_NAME,
    transformer_classes=("HunyuanDiT2DModel",),
    block_lists=(BlockList(_BLOCKS, "num_layers", _COMPONENTS),),
    # 256 of T5 and 77 of CLIP (here a BERT), whatever the prompt.
    sizes=Sizes(text_tokens=256, further_text_tokens=77),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(_preset("v1.2", has_style=False), _preset("v1.1", has_style=True)),
)
