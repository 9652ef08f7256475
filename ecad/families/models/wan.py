"""Wan 2.1 and 2.2, text to video: `WanTransformer3DModel` of diffusers."""

from __future__ import annotations

from math import prod

from ecad.errors import ModelError
from ecad.families.family import (
    BlockList,
    Component,
    ComponentNumbers,
    Family,
    Formulas,
    Preset,
    Sizes,
    StepMacs,
    TakeOver,
    Workload,
    frozen,
)
from ecad.families.layers import embedder, out_channels_of, whole_number, width_of

_NAME = "wan"
_BLOCKS = "blocks"
_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ffn", "feed_forward"),
)

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows.

    The paper has no such model: in its convention linear layers and convolutions count, of these rows and tokens.
    """
    config = workload.transformer
    if config.get("image_dim") is not None or config.get("added_kv_proj_dim") is not None:
        raise ModelError(
            "the formulas of Wan are those of text to video: this transformer also takes an image"
        )
    video, text = workload.image_tokens, workload.text_tokens
    width = width_of(config)
    square = width * width
    attn1 = 4 * video * square  # queries, keys, values, output
    attn2 = 2 * video * square + 2 * text * square  # queries and output; keys and values of the text
    if not is_paper:  # scores QK^T and weighted sum AV: two products of (tokens x keys x width)
        attn1 += 2 * video * video * width
        attn2 += 2 * video * text * width
    components = {
        (_BLOCKS, "attn1"): attn1,
        (_BLOCKS, "attn2"): attn2,
        (_BLOCKS, "ffn"): 2 * video * width * whole_number(config, "ffn_dim"),
    }
    patch = prod(config["patch_size"])  # latent numbers of a channel in one token
    constant = video * patch * whole_number(config, "in_channels") * width  # patch_embedding
    # condition_embedder: time_embedder, time_proj, text_embedder
    constant += embedder(width, whole_number(config, "freq_dim")) + 6 * square
    constant += text * (whole_number(config, "text_dim") * width + square)
    constant += video * width * patch * out_channels_of(config)  # proj_out
    rows = workload.rows
    return StepMacs({part: rows * count for part, count in components.items()}, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    values = workload.rows * workload.image_tokens * width_of(workload.transformer)
    return {(_BLOCKS, component.name): values for component in _COMPONENTS}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent video each."""
    size = workload.latent_frames * workload.latent_height * workload.latent_width
    return workload.rows * size * out_channels_of(workload.transformer)


# --- models: numbers of diffusers' scripts/convert_wan_to_diffusers.py, settings of the models' cards ---

_BOTH = {
    "patch_size": (1, 2, 2),
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
}
_SMALL = {**_BOTH, "num_layers": 30, "num_attention_heads": 12, "ffn_dim": 8960}
_LARGE = {**_BOTH, "num_layers": 40, "num_attention_heads": 40, "ffn_dim": 13824}

# What the script gives text to video, as the models' scheduler_config.json has it; the rest are diffusers' defaults.
_SCHEDULER = frozen(
    {
        "_class_name": "UniPCMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": 3.0,
    }
)


def _preset(
    name: str,
    source: str,
    transformer: dict[str, object],
    size: tuple[int, int],
    *,
    steps: int = 50,
    guidance_scale: float = 5.0,
    guidance_scale_2: float | None = None,
    boundary_ratio: float | None = None,
    note: str = "",
) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source=source,
        pipeline_class="WanPipeline",
        steps=steps,
        guidance_scale=guidance_scale,
        height=size[0],
        width=size[1],
        dtype="bfloat16",
        max_sequence_length=512,  # WanPipeline's default
        num_frames=81,
        vae_temporal_factor=4,
        transformer=frozen(transformer),
        search=frozen({"population": 24, "prompts_limit": 16, "batch_size": 1}),
        note=note,
        guidance_scale_2=guidance_scale_2,
        take_over=None if boundary_ratio is None else TakeOver(boundary_ratio, _SCHEDULER),
    )


WAN = Family(
    name=_NAME,
    transformer_classes=("WanTransformer3DModel",),
    block_lists=(BlockList(_BLOCKS, "num_layers", _COMPONENTS, sums_up=True),),
    sizes=Sizes(text_tokens=512, latents_per_token=2, sample_size=60, num_frames=81),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("wan2.1-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", _SMALL, (480, 832)),
        _preset(
            "wan2.2-a14b",
            "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
            _LARGE,
            (720, 1280),
            steps=40,
            # The model card's call, as it is repeated in many repositories: 4.0 and 3.0, 40 steps.
            guidance_scale=4.0,
            guidance_scale_2=3.0,
            boundary_ratio=0.875,  # in its model_index.json
            note="two transformers, one for the noisy steps and one for the others",
        ),
    ),
)
