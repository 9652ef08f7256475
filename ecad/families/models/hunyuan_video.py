"""HunyuanVideo: `HunyuanVideoTransformer3DModel` of diffusers."""

from __future__ import annotations

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
    Workload,
    frozen,
)
from ecad.families.layers import FEED_FORWARD_FACTOR, embedder, out_channels_of, whole_number, width_of

_NAME = "hunyuan-video"
_DOUBLE = "transformer_blocks"
_SINGLE = "single_transformer_blocks"

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows.

    The paper has no such model: in its convention linear layers and convolutions count, of these rows and tokens.
    """
    config = workload.transformer
    if config.get("image_condition_type") is not None:
        raise ModelError(
            "the formulas of HunyuanVideo are those of text to video: this transformer also takes an image"
        )
    video, text = workload.image_tokens, workload.text_tokens
    both = text + video  # padded text is masked, but computed
    width = width_of(config)
    square = width * width
    hidden = _hidden(workload)
    products = 0 if is_paper else 2 * both * both * width  # QK^T and AV: (tokens x tokens x width) each
    components = {
        # Queries, keys, values and output, each stream by layers of its own.
        (_DOUBLE, "attn"): 4 * both * square + products,
        (_DOUBLE, "ff"): 2 * video * width * hidden,
        (_DOUBLE, "ff_context"): 2 * text * width * hidden,
        # Queries, keys and values: the output projection is the block's proj_out, on attention and MLP side by side.
        (_SINGLE, "attn"): 3 * both * square + products,
        (_SINGLE, "proj_mlp"): both * width * hidden,
        (_SINGLE, "proj_out"): both * (width + hidden) * width,
    }
    patch = whole_number(config, "patch_size_t") * whole_number(config, "patch_size") ** 2
    constant = video * patch * whole_number(config, "in_channels") * width  # x_embedder
    # time_text_embed: timestep_embedder, text_embedder, guidance_embedder
    constant += embedder(width) + embedder(width, whole_number(config, "pooled_projection_dim"))
    if config.get("guidance_embeds"):
        constant += embedder(width)
    constant += _token_refiner(workload, is_paper)
    # Modulations: six vectors for each stream of a double block (norm1, norm1_context), three for a single one.
    constant += whole_number(config, "num_layers") * 2 * 6 * square
    constant += whole_number(config, "num_single_layers") * 3 * square
    constant += 2 * square  # norm_out
    constant += video * width * patch * out_channels_of(config)  # proj_out
    rows = workload.rows
    return StepMacs({part: rows * count for part, count in components.items()}, rows * constant)


def _token_refiner(workload: Workload, is_paper: bool) -> int:
    """context_embedder, of one row: blocks over the text alone, which are no components."""
    config, text, width = workload.transformer, workload.text_tokens, width_of(workload.transformer)
    text_width = whole_number(config, "text_embed_dim")
    count = embedder(width) + embedder(
        width, text_width
    )  # time_text_embed, of the timestep and the mean text
    count += text * text_width * width  # proj_in
    block = 4 * text * width * width  # attention
    if not is_paper:
        block += 2 * text * text * width
    block += 2 * text * width * FEED_FORWARD_FACTOR * width  # ff
    block += 2 * width * width  # norm_out, two gates
    return count + whole_number(config, "num_refiner_layers") * block


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows."""
    video, text = workload.image_tokens, workload.text_tokens
    width = width_of(workload.transformer)
    values = {
        (_DOUBLE, "attn"): (video + text) * width,  # one tensor for each stream
        (_DOUBLE, "ff"): video * width,
        (_DOUBLE, "ff_context"): text * width,
        (_SINGLE, "attn"): (video + text) * width,  # two, too
        (_SINGLE, "proj_mlp"): (video + text) * _hidden(workload),
        (_SINGLE, "proj_out"): (video + text) * width,
    }
    return {part: workload.rows * count for part, count in values.items()}


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent video each."""
    size = workload.latent_frames * workload.latent_height * workload.latent_width
    return workload.rows * size * out_channels_of(workload.transformer)


def _hidden(workload: Workload) -> int:
    """Width of the feed-forward's hidden layer."""
    return int(width_of(workload.transformer) * float(workload.transformer.get("mlp_ratio", 4.0)))


HUNYUAN_VIDEO = Family(
    name=_NAME,
    transformer_classes=("HunyuanVideoTransformer3DModel",),
    # The blocks of the token refiner (context_embedder) have an attn and an ff too: they see no video, and are none.
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
    sizes=Sizes(text_tokens=256, sample_size=90, num_frames=129),
    guidance_setting="true_cfg_scale",  # guidance_scale is an input of the model
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        # The class's defaults, as diffusers' scripts/convert_hunyuan_video_to_diffusers.py makes it; settings of
        # HunyuanVideoPipeline.
        Preset(
            name="hunyuan-video",
            family=_NAME,
            source="hunyuanvideo-community/HunyuanVideo",
            pipeline_class="HunyuanVideoPipeline",
            steps=50,
            guidance_scale=6.0,
            height=720,
            width=1280,
            dtype="bfloat16",
            max_sequence_length=256,
            num_frames=129,
            vae_temporal_factor=4,
            transformer=frozen(
                {
                    "num_layers": 20,
                    "num_single_layers": 40,
                    "num_refiner_layers": 2,
                    "num_attention_heads": 24,
                    "attention_head_dim": 128,
                    "mlp_ratio": 4.0,
                    "in_channels": 16,
                    "out_channels": 16,
                    "patch_size": 2,
                    "patch_size_t": 1,
                    "text_embed_dim": 4096,
                    "pooled_projection_dim": 768,
                    "guidance_embeds": True,
                }
            ),
            search=frozen({"population": 24, "prompts_limit": 16, "batch_size": 1}),
        ),
    ),
)
