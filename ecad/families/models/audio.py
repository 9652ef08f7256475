"""Models that make sound: Stable Audio, ACE-Step, LongCat-AudioDiT and MiniMax Music."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes


def _blocks(name: str, count_key: str, self_attention: str, cross_attention: str, mlp: str) -> BlockList:
    return BlockList(
        name,
        count_key,
        (
            Component(self_attention, "self_attention"),
            Component(cross_attention, "cross_attention"),
            Component(mlp, "feed_forward"),
        ),
    )


STABLE_AUDIO = Family(
    "stable-audio",
    ("StableAudioDiTModel",),
    (_blocks("transformer_blocks", "num_layers", "attn1", "attn2", "ff"),),
    Sizes(130),
)
STABLE_AUDIO3 = Family(
    "stable-audio-3",
    ("StableAudio3DiTModel",),
    (_blocks("transformer_blocks", "depth", "self_attn", "cross_attn", "ff"),),
    Sizes(256),
)
ACE_STEP = Family(
    "ace-step",
    ("AceStepTransformer1DModel",),
    (_blocks("layers", "num_hidden_layers", "self_attn", "cross_attn", "mlp"),),
    Sizes(256),
)
LONGCAT_AUDIO = Family(
    "longcat-audio",
    ("LongCatAudioDiTTransformer",),
    (_blocks("blocks", "dit_depth", "self_attn", "cross_attn", "ffn"),),
    Sizes(512),
)
MINIMAX_MUSIC3 = Family(
    "minimax-music-3",
    ("MiniMaxMusic3Transformer1DModel",),
    (
        BlockList(
            "transformer_blocks",
            "num_layers",
            (
                Component("attn", "joint_attention"),
                # The MLP is no module of its own; its two projections are.
                Component("ff_in", "projection", feeds="ff_out"),
                Component("ff_out", "projection"),
            ),
        ),
    ),
    Sizes(512),
)
