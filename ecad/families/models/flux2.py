"""FLUX.2: `Flux2Transformer2DModel` of diffusers, whose single-stream blocks are one fused layer each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from ecad.families.layers import attention_products, embedder, out_channels_of, whole_number, width_of

_NAME = "flux2"
_DOUBLE = "transformer_blocks"
_SINGLE = "single_transformer_blocks"

# --- costs ---


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config, rows = workload.transformer, workload.rows
    text, image = workload.text_tokens, workload.image_tokens
    both = text + image
    width, hidden = width_of(config), _hidden_width(config)
    patch = whole_number(config, "patch_size") ** 2

    square = width * width
    products = attention_products(both, both, width, is_paper)
    components: ComponentNumbers = {
        # Queries, keys, values and output, each stream by layers of its own.
        (_DOUBLE, "attn"): rows * (4 * both * square + products),
        (_DOUBLE, "ff"): rows * 3 * image * width * hidden,  # values, gates and output
        (_DOUBLE, "ff_context"): rows * 3 * text * width * hidden,
        # One layer for queries, keys, values and the MLP's values and gates, one for the output of both.
        (_SINGLE, "attn"): rows * (both * width * (4 * width + 3 * hidden) + products),
    }

    constant = image * whole_number(config, "in_channels") * width  # x_embedder
    constant += text * whole_number(config, "joint_attention_dim") * width  # context_embedder
    # time_guidance_embed
    embedders = 2 if config.get("guidance_embeds") else 1
    constant += embedders * embedder(width, whole_number(config, "timestep_guidance_channels"))
    # Modulations that all blocks share: six vectors for each stream of double blocks, three for single ones.
    constant += (6 + 6 + 3) * square
    constant += 2 * square  # norm_out
    constant += image * width * patch * out_channels_of(config)  # proj_out
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution of each component, for all rows; of the double `attn` one tensor per
    stream."""
    width, rows = width_of(workload.transformer), workload.rows
    image, text = rows * workload.image_tokens * width, rows * workload.text_tokens * width
    return {
        (_DOUBLE, "attn"): image + text,
        (_DOUBLE, "ff"): image,
        (_DOUBLE, "ff_context"): text,
        (_SINGLE, "attn"): image + text,
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each, packed."""
    patch = whole_number(workload.transformer, "patch_size") ** 2
    return workload.rows * workload.image_tokens * patch * out_channels_of(workload.transformer)


def _hidden_width(config: Mapping[str, Any]) -> int:
    ratio = config.get("mlp_ratio")
    if not isinstance(ratio, (int, float)) or isinstance(ratio, bool) or not ratio > 0:
        raise ModelError(f"the transformer's config must have a positive number 'mlp_ratio', not {ratio!r}")
    return int(width_of(config) * ratio)


# --- models ---


def _preset(
    name: str,
    repository: str,
    pipeline_class: str,
    double: int,
    single: int,
    heads: int,
    text_width: int,
    *,
    is_dev: bool = False,
    steps: int = 50,  # these two of FLUX.2-dev's model card
    guidance_scale: float = 4.0,
    note: str = "",
) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source=f"black-forest-labs/{repository}",
        pipeline_class=pipeline_class,
        steps=steps,
        guidance_scale=guidance_scale,
        height=1024,
        width=1024,
        dtype="bfloat16",
        max_sequence_length=512,
        transformer=frozen(
            {
                "patch_size": 1,
                "in_channels": 128,
                "num_layers": double,
                "num_single_layers": single,
                "num_attention_heads": heads,
                "attention_head_dim": 128,
                "joint_attention_dim": text_width,
                "timestep_guidance_channels": 256,
                "mlp_ratio": 3.0,
                "guidance_embeds": is_dev,
            }
        ),
        note=note,
    )


FLUX2 = Family(
    name=_NAME,
    transformer_classes=("Flux2Transformer2DModel",),
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
        # Attention and MLP side by side, as a whole: their layers are fused.
        BlockList(_SINGLE, "num_single_layers", (Component("attn", "joint_attention"),)),
    ),
    # Of dev, which embeds it, guidance_scale is an input; of Klein, which does not, it doubles the rows above 1.
    # Flux2Pipeline packs 2 x 2 latent pixels into a token itself: the transformer's patch_size is 1.
    sizes=Sizes(text_tokens=512, latents_per_token=2, sample_size=128),
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("flux2-dev", "FLUX.2-dev", "Flux2Pipeline", 8, 48, 48, 15360, is_dev=True),
        # Klein: numbers of Klein4BParams and Klein9BParams, as copies of black-forest-labs/flux2 have them. The
        # base model has the defaults of Flux2KleinPipeline; the distilled one 4 steps without guidance.
        _preset("flux2-klein-base-9b", "FLUX.2-klein-base-9B", "Flux2KleinPipeline", 8, 24, 32, 12288),
        _preset(
            "flux2-klein-4b",
            "FLUX.2-klein-4B",
            "Flux2KleinPipeline",
            5,
            20,
            24,
            7680,
            steps=4,
            guidance_scale=1.0,
            note="distilled: four steps",
        ),
    ),
)
