"""HiDream-I1: `HiDreamImageTransformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

HIDREAM = Family(
    name="hidream",
    transformer_classes=("HiDreamImageTransformer2DModel",),
    block_lists=(
        # Each block lies in a wrapper. `ff_i` are experts: which ones a token gets is decided inside.
        BlockList(
            "double_stream_blocks",
            "num_layers",
            (
                Component("attn1", "joint_attention"),
                Component("ff_i", "feed_forward"),
                Component("ff_t", "feed_forward"),
            ),
            path="double_stream_blocks.*.block",
        ),
        BlockList(
            "single_stream_blocks",
            "num_single_layers",
            (Component("attn1", "joint_attention"), Component("ff_i", "feed_forward")),
            path="single_stream_blocks.*.block",
        ),
    ),
    sizes=Sizes(
        text_tokens=128, sample_size=128
    ),  # HiDreamImagePipeline: 128 tokens, 1024 pixels, 8 to a latent
)
