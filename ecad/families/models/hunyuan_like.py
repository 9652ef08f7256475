"""Models with HunyuanVideo's blocks: HunyuanImage, FramePack, Motif-Video and HunyuanVideo 1.5.

Their token refiners own attn and ff, too, and stay outside: they are two short blocks over the text alone.
"""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

DOUBLE_STREAM = BlockList(
    "transformer_blocks",
    "num_layers",
    (
        Component("attn", "joint_attention"),
        Component("ff", "feed_forward"),
        Component("ff_context", "feed_forward"),
    ),
)
SINGLE_STREAM = BlockList(
    "single_transformer_blocks",
    "num_single_layers",
    (
        # Gives back two tensors, image and text, which the block joins again.
        Component("attn", "joint_attention", feeds="proj_out"),
        Component("proj_mlp", "projection", feeds="proj_out"),
        Component("proj_out", "projection"),
    ),
)
BOTH_STREAMS = (DOUBLE_STREAM, SINGLE_STREAM)

HUNYUAN_IMAGE = Family("hunyuan-image", ("HunyuanImageTransformer2DModel",), BOTH_STREAMS, Sizes(1000))
FRAMEPACK = Family(
    "framepack",
    ("HunyuanVideoFramepackTransformer3DModel",),
    BOTH_STREAMS,
    Sizes(256),
    guidance_setting="true_cfg_scale",
)
# Some of its models have a second attention to the text in their blocks, which is always computed where it is.
MOTIF_VIDEO = Family("motif-video", ("MotifVideoTransformer3DModel",), BOTH_STREAMS, Sizes(512))
HUNYUAN_VIDEO15 = Family(
    "hunyuan-video-1.5",
    ("HunyuanVideo15Transformer3DModel",),
    (
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward"),
            ),
        ),
    ),
    Sizes(1000),
)
