"""Lumina-Image 2.0: `Lumina2Transformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

_COMPONENTS = (Component("attn", "joint_attention"), Component("feed_forward", "feed_forward"))
_ALONE = (Component("attn", "self_attention"), Component("feed_forward", "feed_forward"))

LUMINA2 = Family(
    name="lumina2",
    transformer_classes=("Lumina2Transformer2DModel",),
    block_lists=(
        BlockList("noise_refiner", "num_refiner_layers", _ALONE),
        BlockList("context_refiner", "num_refiner_layers", _ALONE),  # sees no timestep: reusing it is exact
        BlockList("layers", "num_layers", _COMPONENTS),
    ),
    sizes=Sizes(text_tokens=256),  # Lumina2Pipeline pads prompts to so many
)
