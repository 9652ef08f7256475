"""Stable Diffusion 3: `SD3Transformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

SD3 = Family(
    name="sd3",
    transformer_classes=("SD3Transformer2DModel",),
    block_lists=(
        BlockList(
            name="transformer_blocks",  # the transformer's attribute
            count_key="num_layers",  # in its config
            components=(
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward", missing_in=(-1,)),  # the last block has none
            ),
        ),
    ),
    sizes=Sizes(text_tokens=256),  # StableDiffusion3Pipeline pads prompts to so many
)
