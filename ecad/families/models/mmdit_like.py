"""Models with two streams and names of their own: JoyImage-Edit, Mochi, and LTX-2, whose second stream is audio."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

JOY_IMAGE = Family(
    "joyimage-edit",
    ("JoyImageEditTransformer3DModel", "JoyImageEditPlusTransformer3DModel"),
    (
        BlockList(
            "double_blocks",
            "num_layers",
            (
                Component("attn", "joint_attention"),
                Component("img_mlp", "feed_forward"),
                Component("txt_mlp", "feed_forward"),
            ),
        ),
    ),
    Sizes(4096),
)
MOCHI = Family(
    "mochi",
    ("MochiTransformer3DModel",),
    (
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn1", "joint_attention"),
                Component("ff", "feed_forward"),
                Component("ff_context", "feed_forward", missing_in=(-1,)),  # the last block has none
            ),
        ),
    ),
    Sizes(256),
)
LTX2 = Family(
    "ltx-2",
    ("LTX2VideoTransformer3DModel",),
    (
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn1", "self_attention"),
                Component("audio_attn1", "self_attention"),
                Component("attn2", "cross_attention"),
                Component("audio_attn2", "cross_attention"),
                # Not in the pass that keeps video and audio apart, for guidance.
                Component("audio_to_video_attn", "joint_attention", in_every_pass=False),
                Component("video_to_audio_attn", "joint_attention", in_every_pass=False),
                Component("ff", "feed_forward"),
                Component("audio_ff", "feed_forward"),
            ),
        ),
    ),
    Sizes(1024),
)
