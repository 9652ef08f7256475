"""Bria FIBO 2."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

_COMPONENTS = (Component("attention", "joint_attention"), Component("feed_forward", "feed_forward"))

BRIA_FIBO2 = Family(
    "bria-fibo2",
    ("BriaFibo2Transformer2DModel",),
    (
        BlockList("noise_refiner", "n_refiner_layers", _COMPONENTS),
        BlockList("layers", "n_layers", _COMPONENTS),
        # The text goes in by a third component of some of the layers.
        BlockList(
            "injection_layers",
            "injection_layer_ids",
            (Component("cross_attention", "cross_attention"),),
            path="layers.*",
            is_optional=True,
        ),
    ),
    Sizes(4096),
)
