"""Video models with Wan's blocks: ChronoEdit, SkyReels-V2, AnyFlow, Wan-VACE, Wan-Animate and Helios."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ffn", "feed_forward"),
)
BLOCKS = BlockList("blocks", "num_layers", _COMPONENTS)

_SIZES = Sizes(512)  # text tokens, the pipelines' default

CHRONO_EDIT = Family("chronoedit", ("ChronoEditTransformer3DModel",), (BLOCKS,), _SIZES)
SKYREELS_V2 = Family("skyreels-v2", ("SkyReelsV2Transformer3DModel",), (BLOCKS,), _SIZES)
# AnyFlowFARTransformer3DModel is none: its attention writes keys and values that later chunks read.
ANYFLOW = Family("anyflow", ("AnyFlowTransformer3DModel",), (BLOCKS,), _SIZES)
HELIOS = Family("helios", ("HeliosTransformer3DModel",), (BLOCKS,), _SIZES)
# The face adapter between the blocks, one cross-attention in five, is always computed.
WAN_ANIMATE = Family("wan-animate", ("WanAnimateTransformer3DModel",), (BLOCKS,), _SIZES)
WAN_VACE = Family(
    "wan-vace",
    ("WanVACETransformer3DModel",),
    (
        # The control's branch, which runs before the other; its config lists where the hints go in.
        BlockList("vace_blocks", "vace_layers", _COMPONENTS),
        BLOCKS,
    ),
    _SIZES,
)
