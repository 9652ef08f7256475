"""Kandinsky 5 and 6."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

KANDINSKY5 = Family(
    "kandinsky5",
    ("Kandinsky5Transformer3DModel",),
    (
        BlockList(
            "text_transformer_blocks",  # see the time, so they run in every step
            "num_text_blocks",
            (Component("self_attention", "self_attention"), Component("feed_forward", "feed_forward")),
        ),
        BlockList(
            "visual_transformer_blocks",
            "num_visual_blocks",
            (
                Component("self_attention", "self_attention"),
                Component("cross_attention", "cross_attention"),
                Component("feed_forward", "feed_forward"),
            ),
        ),
    ),
    Sizes(512),
)


def _of_text(name: str) -> BlockList:
    return BlockList(
        name,
        "num_text_blocks",
        (Component("attn", "self_attention"), Component("feed_forward", "feed_forward")),
    )


# A block calls the modules of its two halves itself: the halves have no forward. Without audio its half rests.
KANDINSKY6 = Family(
    "kandinsky6",
    ("Kandinsky6Transformer3DModel",),
    (
        _of_text("video_text_transformer_blocks"),
        _of_text("audio_text_transformer_blocks"),
        BlockList(
            "visual_transformer_blocks",
            "num_visual_blocks",
            (
                Component("video_dec_block.self_attention", "self_attention"),
                Component("video_dec_block.cross_attention", "cross_attention"),
                Component("video_dec_block.feed_forward", "feed_forward"),
                Component("audio_dec_block.self_attention", "self_attention", in_every_pass=False),
                Component("audio_dec_block.cross_attention", "cross_attention", in_every_pass=False),
                Component("audio_dec_block.feed_forward", "feed_forward", in_every_pass=False),
                Component("va_cross_attention", "joint_attention", in_every_pass=False),
                Component("av_cross_attention", "joint_attention", in_every_pass=False),
            ),
        ),
    ),
    Sizes(1024),
)
