"""Z-Image and Z-Image-Turbo: `ZImageTransformer2DModel` of diffusers."""

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
from ecad.families.layers import PAPER_ROWS, whole_number

_NAME = "zimage"
_NOISE, _CONTEXT, _JOINT = "noise_refiner", "context_refiner", "layers"
_COMPONENTS = (Component("attention", "joint_attention"), Component("feed_forward", "feed_forward"))
_ALONE = (Component("attention", "self_attention"), Component("feed_forward", "feed_forward"))

# --- costs ---

_MULTIPLE = 32  # texts and images are filled up to a multiple of so many tokens
_PATCH = 2  # latent pixels of a token, each way: the default of the transformer's forward
_CHANNELS = 256  # of the timestep's features, and at most of the vector that modulates
_EMBEDDER = 1024  # the timestep embedder's hidden width


def _tokens(workload: Workload) -> tuple[int, int]:
    """Image and text tokens of a row, filled up. Prompts are not padded to a common length: the longest counts."""
    return (
        _MULTIPLE * -(-workload.image_tokens // _MULTIPLE),
        _MULTIPLE * -(-workload.text_tokens // _MULTIPLE),
    )


def macs(workload: Workload, is_paper: bool) -> StepMacs:
    """MACs of a component's execution, and of a step outside of them, for all rows."""
    config = workload.transformer
    rows = PAPER_ROWS if is_paper else workload.rows
    image, text = _tokens(workload)
    width = whole_number(config, "dim")
    hidden = int(width / 3 * 8)  # as the class computes it
    channels = whole_number(config, "in_channels")
    patch = _PATCH**2

    components = {}
    for name, tokens in ((_NOISE, image), (_CONTEXT, text), (_JOINT, image + text)):
        products = 0 if is_paper else 2 * tokens * tokens * width
        components[name, "attention"] = rows * (4 * tokens * width * width + products)
        components[name, "feed_forward"] = rows * 3 * tokens * width * hidden

    modulated = whole_number(config, "n_refiner_layers") + whole_number(config, "n_layers")
    condition = min(width, _CHANNELS)
    constant = image * patch * channels * width  # all_x_embedder
    constant += text * whole_number(config, "cap_feat_dim") * width  # cap_embedder
    constant += _CHANNELS * _EMBEDDER + _EMBEDDER * condition  # t_embedder
    constant += modulated * condition * 4 * width  # adaLN_modulation of each block; the context's has none
    # all_final_layer: its modulation, and the projection of text tokens, too
    constant += condition * width + (image + text) * width * patch * channels
    return StepMacs(components, rows * constant)


def output_values(workload: Workload) -> ComponentNumbers:
    """Numbers in the output of one execution, for all rows: every component's is as wide as the model."""
    image, text = _tokens(workload)
    each = workload.rows * whole_number(workload.transformer, "dim")
    return {
        (name, component.name): each * tokens
        for name, tokens in ((_NOISE, image), (_CONTEXT, text), (_JOINT, image + text))
        for component in _COMPONENTS
    }


def whole_output_values(workload: Workload) -> int:
    """Numbers in the transformer's output, for all rows: a latent image each."""
    channels = whole_number(workload.transformer, "in_channels")
    return workload.rows * workload.latent_height * workload.latent_width * channels


# --- models ---

_6B = {
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "in_channels": 16,
    "cap_feat_dim": 2560,
}


def _preset(name: str, repository: str, steps: int, guidance_scale: float) -> Preset:
    return Preset(
        name=name,
        family=_NAME,
        source=f"Tongyi-MAI/{repository}",
        pipeline_class="ZImagePipeline",
        steps=steps,
        guidance_scale=guidance_scale,
        height=1024,
        width=1024,
        dtype="bfloat16",
        max_sequence_length=512,
        transformer=frozen(_6B),
    )


ZIMAGE = Family(
    name=_NAME,
    transformer_classes=("ZImageTransformer2DModel",),
    block_lists=(
        BlockList(_NOISE, "n_refiner_layers", _ALONE),
        BlockList(_CONTEXT, "n_refiner_layers", _ALONE),  # sees no timestep: reusing it is exact
        BlockList(_JOINT, "n_layers", _COMPONENTS),
    ),
    # ZImagePipeline cuts prompts at 512 tokens and pads none: 64 are a sentence or two in its chat template. Its VAE
    # decides the size (1024 pixels, 8 to a latent).
    sizes=Sizes(text_tokens=64, latents_per_token=_PATCH, sample_size=128, pads_text=False),
    guided_above=0.0,  # ZImagePipeline adds its scale times the difference to the prompt's prediction
    formulas=Formulas(macs, output_values, whole_output_values),
    presets=(
        _preset("z-image-turbo", "Z-Image-Turbo", steps=8, guidance_scale=0.0),
        _preset("z-image", "Z-Image", steps=50, guidance_scale=5.0),  # ZImagePipeline's defaults
    ),
)
