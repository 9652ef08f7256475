"""CogVideoX: `CogVideoXTransformer3DModel` of diffusers."""

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

_NAME = "cogvideox"
_BLOCKS = "transformer_blocks"

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows.

    The paper has no such model: in its convention linear layers and convolutions count, of these rows and tokens.
    """
    config = workload.transformer
    video, text = workload.image_tokens, workload.text_tokens
    both = text + video  # attention and feed-forward are over the joined sequence
    width = width_of(config)
    square = width * width
    attention = 4 * both * square  # queries, keys, values, output
    if not is_paper:  # scores QK^T and weighted sum AV: two products of (tokens x tokens x width)
        attention += 2 * both * both * width
    components = {
        (_BLOCKS, "attn1"): attention,
        (_BLOCKS, "ff"): feed_forward(both, width, config.get("activation_fn")),
    }
    time = whole_number(config, "time_embed_dim")
    patch = _patch(workload)
    constant = video * patch * whole_number(config, "in_channels") * width  # patch_embed.proj
    constant += text * whole_number(config, "text_embed_dim") * width  # patch_embed.text_proj
    constant += embedder(time, width)  # time_embedding
    if config.get("ofs_embed_dim"):  # of CogVideoX 1.5, image to video
        ofs = whole_number(config, "ofs_embed_dim")
        constant += embedder(ofs, ofs)
    constant += whole_number(config, "num_layers") * 2 * time * 6 * width  # norm1 and norm2, for both streams
    constant += time * 2 * width  # norm_out
    constant += video * width * patch * out_channels_of(config)  # proj_out
    rows = workload.rows
    return StepMacs({part: rows * count for part, count in components.items()}, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: both streams, as wide as the model."""
    tokens = workload.image_tokens + workload.text_tokens
    values = workload.rows * tokens * width_of(workload.transformer)
    return {(_BLOCKS, "attn1"): values, (_BLOCKS, "ff"): values}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent video each."""
    size = workload.latent_frames * workload.latent_height * workload.latent_width
    return workload.rows * size * out_channels_of(workload.transformer)


def _patch(workload: Workload) -> int:
    """Latent numbers of a channel in one token."""
    config = workload.transformer
    depth = 1 if config.get("patch_size_t") is None else whole_number(config, "patch_size_t")
    return depth * whole_number(config, "patch_size") ** 2


def _preset(name: str, source: str, layers: int, heads: int, dtype: str, rotary: bool) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source=source,
        pipeline_class="CogVideoXPipeline",
        steps=50,
        guidance_scale=6.0,
        height=480,
        width=720,
        dtype=dtype,  # the one that it was trained in
        max_sequence_length=226,
        num_frames=49,
        vae_temporal_factor=4,
        # Of diffusers' scripts/convert_cogvideox_to_diffusers.py, else the class's defaults.
        transformer=frozen(
            {
                "num_layers": layers,
                "num_attention_heads": heads,
                "attention_head_dim": 64,
                "in_channels": 16,
                "out_channels": 16,
                "time_embed_dim": 512,
                "text_embed_dim": 4096,
                "patch_size": 2,
                "use_rotary_positional_embeddings": rotary,
            }
        ),
        search=frozen({"population": 24, "prompts_limit": 16, "batch_size": 1}),
    )


COGVIDEOX = Family(
    name=_NAME,
    transformer_classes=("CogVideoXTransformer3DModel",),
    block_lists=(
        BlockList(
            _BLOCKS,
            "num_layers",
            # The feed-forward is over text and video joined.
            (Component("attn1", "joint_attention"), Component("ff", "feed_forward")),
        ),
    ),
    sizes=Sizes(text_tokens=226, sample_size=60, num_frames=49),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("cogvideox-2b", "THUDM/CogVideoX-2b", 30, 30, "float16", False),
        _preset("cogvideox-5b", "THUDM/CogVideoX-5b", 42, 48, "bfloat16", True),
    ),
)
