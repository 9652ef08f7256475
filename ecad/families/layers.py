"""MACs of the layers that the families share, and the numbers of a config that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecad.errors import ModelError

FEED_FORWARD_FACTOR = 4  # hidden width / width, the default of diffusers' FeedForward

_SINUSOIDAL_CHANNELS = 256  # features of a timestep, a size or a guidance value, in diffusers' embedders
_GATED_ACTIVATIONS = ("geglu", "swiglu")  # their input projection is twice as wide: values and gates


def feed_forward(tokens: int, width: int, activation: object = None) -> int:
    """diffusers' `FeedForward`: two linear layers, three with a gated activation."""
    return tokens * width * FEED_FORWARD_FACTOR * width * (3 if activation in _GATED_ACTIVATIONS else 2)


def attention_products(queries: int, keys: int, width: int, is_paper: bool = False) -> int:
    """Scores QK^T and weighted sum AV: two products of (queries x keys x width), which the paper does not count."""
    return 0 if is_paper else 2 * queries * keys * width


def embedder(width: int, channels: int = _SINUSOIDAL_CHANNELS) -> int:
    """Two linear layers on one vector: `channels` -> width -> width (timestep, size, guidance, pooled text)."""
    return channels * width + width * width


def whole_number(config: Mapping[str, Any], key: str) -> int:
    """A number of the transformer's config, which comes from a file that anybody may have edited."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"the transformer's config must have a positive whole number {key!r}, not {value!r}")
    return value


def width_of(config: Mapping[str, Any]) -> int:
    """Channels of a token inside the transformer."""
    return whole_number(config, "num_attention_heads") * whole_number(config, "attention_head_dim")


def out_channels_of(config: Mapping[str, Any]) -> int:
    """Channels of a latent pixel that leaves the transformer: those that enter it, if the config does not say."""
    return whole_number(config, "in_channels" if config.get("out_channels") is None else "out_channels")
