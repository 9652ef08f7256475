"""Models with PixArt's components under other classes: Latte, Allegro, Cosmos, Sana-Video and LuminaNext."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

_COMPONENTS = (
    Component("attn1", "self_attention"),
    Component("attn2", "cross_attention"),
    Component("ff", "feed_forward"),
)
BLOCKS = BlockList("transformer_blocks", "num_layers", _COMPONENTS)

LATTE = Family(
    "latte",
    ("LatteTransformer3DModel",),
    (
        BLOCKS,
        # Between those of one frame each: over time, without cross-attention.
        BlockList(
            "temporal_transformer_blocks",
            "num_layers",
            (Component("attn1", "self_attention"), Component("ff", "feed_forward")),
        ),
    ),
    Sizes(120),
)
ALLEGRO = Family("allegro", ("AllegroTransformer3DModel",), (BLOCKS,), Sizes(512))
COSMOS = Family("cosmos", ("CosmosTransformer3DModel",), (BLOCKS,), Sizes(512))
SANA_VIDEO = Family("sana-video", ("SanaVideoTransformer3DModel",), (BLOCKS,), Sizes(300))
LUMINA_NEXT = Family(
    "lumina-next",
    ("LuminaNextDiT2DModel",),
    (
        BlockList(
            "layers",
            "num_layers",
            (
                Component("attn1", "self_attention"),
                # Up to its heads' outputs: the block calls its output projection itself, on both attentions' sum.
                Component("attn2", "cross_attention"),
                Component("feed_forward", "feed_forward"),
            ),
        ),
    ),
    Sizes(256),
)
