"""FLUX's other pipelines: Fill, Kontext, ControlNet, Control and Redux follow the schedules of FLUX, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPriorReduxPipeline,
    FluxTransformer2DModel,
)
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from PIL import Image

import ecad

PICTURE = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
MASK = np.zeros((1, 16, 16), dtype=np.float32)
MASK[:, :8] = 1.0
SIZE = {"height": 16, "width": 16}


def with_channels(case: Any, channels: int) -> dict[str, Any]:
    """The pipeline's parts, its transformer with more channels coming in than going out."""
    torch.manual_seed(1)
    config = {**case.pipe.transformer.config, "in_channels": channels, "out_channels": 16}
    config.pop("_use_default_values", None)  # diffusers would take `out_channels` for one of them
    return {**case.pipe.components, "transformer": FluxTransformer2DModel.from_config(config).eval()}


def without_adapters(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name not in ("image_encoder", "feature_extractor")}


def fill(case: Any) -> dict[str, Any]:
    mask_channels = 4 * case.pipe.vae_scale_factor**2
    case.pipe = FluxFillPipeline(**without_adapters(with_channels(case, 16 + 16 + mask_channels)))
    return {"image": PICTURE, "mask_image": MASK, **SIZE}


def kontext(case: Any) -> dict[str, Any]:
    case.pipe = FluxKontextPipeline(**case.pipe.components)
    text, pooled, _ = case.pipe.encode_prompt("a red circle", None, max_sequence_length=12)
    # Its first argument is the picture.
    return {
        "prompt": PICTURE,
        "prompt_embeds": text,
        "pooled_prompt_embeds": pooled,
        "max_area": 256,
        "_auto_resize": False,
        **SIZE,
    }


def control(case: Any) -> dict[str, Any]:
    case.pipe = FluxControlPipeline(**without_adapters(with_channels(case, 32)))
    return {"control_image": PICTURE, **SIZE}


def controlnet(case: Any) -> dict[str, Any]:
    torch.manual_seed(2)
    config = case.pipe.transformer.config
    network = FluxControlNetModel.from_transformer(
        case.pipe.transformer,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=config.attention_head_dim,
        num_attention_heads=config.num_attention_heads,
    )
    with torch.no_grad():
        for layer in [
            *network.controlnet_blocks,
            *network.controlnet_single_blocks,
            network.controlnet_x_embedder,
        ]:
            torch.nn.init.normal_(layer.weight, std=0.2)  # zero in an untrained one
    case.pipe = FluxControlNetPipeline(**case.pipe.components, controlnet=network.eval())
    return {"control_image": PICTURE, **SIZE}


def redux(case: Any) -> dict[str, Any]:
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(3)
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    prior = FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel(vision).eval(),
        feature_extractor=SiglipImageProcessor(size={"height": 16, "width": 16}),
        image_embedder=ReduxImageEncoder(redux_dim=16, txt_in_features=16),
        text_encoder=case.pipe.text_encoder,
        tokenizer=case.pipe.tokenizer,
        text_encoder_2=case.pipe.text_encoder_2,
        tokenizer_2=case.pipe.tokenizer_2,
    )
    return {
        "prompt": None,
        **prior(Image.fromarray((255 * PICTURE[0]).astype(np.uint8)), "a red circle"),
        **SIZE,
    }


VARIANTS = (fill, kontext, control, controlnet, redux)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_its_images_are_those_of_the_plainest_implementation(
    flux: Any, variant: Callable[[Any], dict[str, Any]]
) -> None:
    call = variant(flux)
    flux.pipe.set_progress_bar_config(disable=True)
    untouched = flux.run(**call)
    with ecad.applied(flux.pipe, flux.heuristic("all")):
        assert np.array_equal(flux.run(**call), untouched)
    for schedule in (flux.random_schedule(11, 0.3), flux.mixed_schedule(5)):
        expected = flux.reference_images(schedule, **call)
        assert not np.array_equal(expected, untouched)
        with ecad.applied(flux.pipe, schedule) as handle:
            assert np.array_equal(flux.run(**call), expected)
            assert handle.reused > 0
    assert np.array_equal(flux.run(**call), untouched)
