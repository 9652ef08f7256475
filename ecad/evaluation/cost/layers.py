"""MACs of the layers that the families share."""

from __future__ import annotations

ComponentMacs = dict[tuple[str, str], int]  # (block list, component) -> MACs of one execution, all rows

FEED_FORWARD_FACTOR = 4  # hidden width / width, the default of diffusers' FeedForward

_SINUSOIDAL_CHANNELS = 256  # features of a timestep, a size or a guidance value, in diffusers' embedders
_GATED_ACTIVATIONS = ("geglu", "swiglu")  # their input projection is twice as wide: values and gates


def feed_forward(tokens: int, width: int, activation: object = None) -> int:
    """diffusers' `FeedForward`: two linear layers, three with a gated activation."""
    return tokens * width * FEED_FORWARD_FACTOR * width * (3 if activation in _GATED_ACTIVATIONS else 2)


def embedder(width: int, channels: int = _SINUSOIDAL_CHANNELS) -> int:
    """Two linear layers on one vector: `channels` -> width -> width (timestep, size, guidance, pooled text)."""
    return channels * width + width * width
