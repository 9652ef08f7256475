"""Transformers at full size on the meta device: right shapes and types, no weights, no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ecad.errors import ModelError
from ecad.families.family import Workload

Inputs = dict[str, Any]


def build(workload: Workload, images: int, dtype: torch.dtype = torch.bfloat16) -> tuple[nn.Module, Inputs]:
    """The transformer, and the arguments of one forward for so many images (with guidance two rows each).

    ModelError for families whose arguments are not known here.
    """
    if workload.family not in _FAMILIES:
        raise ModelError(
            f"the family {workload.family!r} cannot be built without weights: known are {', '.join(_FAMILIES)}"
        )
    with torch.device("meta"):
        transformer, inputs = _FAMILIES[workload.family](workload, images * workload.rows, dtype)
        # torch's own `to`: that of diffusers warns about casting weights, of which there are none.
        return nn.Module.to(transformer, dtype).eval(), {**inputs, "return_dict": False}


def _pixart(load: Workload, rows: int, dtype: torch.dtype) -> tuple[nn.Module, Inputs]:
    from diffusers import PixArtTransformer2DModel

    config = _arguments(PixArtTransformer2DModel, load.transformer)
    # As the class decides it where a config does not say.
    additional = config.get("use_additional_conditions")
    if additional is None:
        additional = config.get("sample_size") == 128
    return PixArtTransformer2DModel(**config), {
        "hidden_states": torch.empty(
            rows, config["in_channels"], load.latent_height, load.latent_width, dtype=dtype
        ),
        "encoder_hidden_states": torch.empty(rows, load.text_tokens, config["caption_channels"], dtype=dtype),
        "encoder_attention_mask": torch.empty(rows, load.text_tokens, dtype=dtype),
        "timestep": torch.empty(rows),
        "added_cond_kwargs": {
            "resolution": torch.empty(rows, 2, dtype=dtype) if additional else None,
            "aspect_ratio": torch.empty(rows, 1, dtype=dtype) if additional else None,
        },
    }


def _flux(load: Workload, rows: int, dtype: torch.dtype) -> tuple[nn.Module, Inputs]:
    from diffusers import FluxTransformer2DModel

    config = _arguments(FluxTransformer2DModel, load.transformer)
    text = (rows, load.text_tokens, config["joint_attention_dim"])
    return FluxTransformer2DModel(**config), {
        "hidden_states": torch.empty(rows, load.image_tokens, config["in_channels"], dtype=dtype),
        "encoder_hidden_states": torch.empty(text, dtype=dtype),
        "pooled_projections": torch.empty(rows, config["pooled_projection_dim"], dtype=dtype),
        "timestep": torch.empty(rows, dtype=dtype),
        "img_ids": torch.empty(load.image_tokens, 3, dtype=dtype),
        "txt_ids": torch.empty(load.text_tokens, 3, dtype=dtype),
        "guidance": torch.empty(rows) if config.get("guidance_embeds") else None,
    }


def _arguments(model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a config those entries that its class knows."""
    known = model._get_init_keys(model)
    return {key: value for key, value in config.items() if key in known}


_FAMILIES: Mapping[str, Callable[[Workload, int, torch.dtype], tuple[nn.Module, Inputs]]] = {
    "pixart": _pixart,
    "flux": _flux,
}
