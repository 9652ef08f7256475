"""GLM-Image: `GlmImageTransformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

GLM_IMAGE = Family(
    name="glm-image",
    transformer_classes=("GlmImageTransformer2DModel",),
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
    # GlmImagePipeline cuts the glyphs' text at 2048 tokens; its size is 1024 pixels, 8 to a latent.
    sizes=Sizes(text_tokens=2048, sample_size=128),
)
