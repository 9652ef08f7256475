"""EasyAnimate: `EasyAnimateTransformer3DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

EASYANIMATE = Family(
    name="easyanimate",
    transformer_classes=("EasyAnimateTransformer3DModel",),
    block_lists=(
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn1", "joint_attention"),
                # From block `mmdit_layers` on there is no `txt_ff`: this one is called for the text, too.
                Component("ff", "feed_forward", calls=2),
                Component("txt_ff", "feed_forward", is_optional=True),
            ),
        ),
    ),
    # EasyAnimatePipeline pads prompts to 256 tokens; its height is 512 pixels, 8 to a latent.
    sizes=Sizes(text_tokens=256, sample_size=64),
)
