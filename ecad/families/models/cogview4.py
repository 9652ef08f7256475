"""CogView 4: `CogView4Transformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

COGVIEW4 = Family(
    name="cogview4",
    transformer_classes=("CogView4Transformer2DModel",),
    block_lists=(
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn1", "joint_attention"),
                Component("ff", "feed_forward", calls=2),  # one module for the image and for the text
            ),
        ),
    ),
    sizes=Sizes(text_tokens=1024),  # CogView4Pipeline pads to a multiple of 16 and cuts there
)
