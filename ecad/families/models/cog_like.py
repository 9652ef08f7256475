"""Models with CogVideoX's blocks: CogView3-Plus and ConsisID."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

BLOCKS = BlockList(
    "transformer_blocks",
    "num_layers",
    (
        Component("attn1", "joint_attention"),
        Component("ff", "feed_forward"),  # over text and image as one sequence
    ),
)

COGVIEW3_PLUS = Family("cogview3-plus", ("CogView3PlusTransformer2DModel",), (BLOCKS,), Sizes(224))
# The face's cross-attention between the blocks is always computed.
CONSIS_ID = Family("consisid", ("ConsisIDTransformer3DModel",), (BLOCKS,), Sizes(226))
