"""Image models with FLUX's blocks under their own names: Bria, Ovis-Image, LongCat-Image, Bria FIBO; Flux3 and PRX."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

# Attention over text and image together, then a feed-forward for each stream.
DOUBLE_STREAM = BlockList(
    "transformer_blocks",
    "num_layers",
    (
        Component("attn", "joint_attention"),
        Component("ff", "feed_forward"),
        Component("ff_context", "feed_forward"),
    ),
)
# Attention and MLP side by side, joined by one output projection.
SINGLE_STREAM = BlockList(
    "single_transformer_blocks",
    "num_single_layers",
    (
        Component("attn", "joint_attention", feeds="proj_out"),
        Component("proj_mlp", "projection", feeds="proj_out"),
        Component("proj_out", "projection"),
    ),
)
BOTH_STREAMS = (DOUBLE_STREAM, SINGLE_STREAM)

# Their pipelines pack 2 x 2 latent pixels into a token, the transformer's patch_size is 1. Native are 1024 pixels.
_PACKED = {"latents_per_token": 2, "sample_size": 128}

BRIA = Family("bria", ("BriaTransformer2DModel",), BOTH_STREAMS, Sizes(128, **_PACKED))
OVIS_IMAGE = Family("ovis-image", ("OvisImageTransformer2DModel",), BOTH_STREAMS, Sizes(256, **_PACKED))
LONGCAT_IMAGE = Family(
    "longcat-image", ("LongCatImageTransformer2DModel",), BOTH_STREAMS, Sizes(512, **_PACKED)
)
BRIA_FIBO = Family("bria-fibo", ("BriaFiboTransformer2DModel",), BOTH_STREAMS, Sizes(3000, 1, 64))

FLUX3 = Family(
    "flux3",
    ("Flux3Transformer2DModel",),
    (
        # Each stream by itself, attention and feed-forward side by side; what a reference image goes through besides
        # (mode_blocks.image_cond) does not run without one, so it is not cached.
        BlockList(
            "txt_mode_blocks",
            "num_layers",
            (Component("attn", "self_attention"), Component("ff", "feed_forward")),
        ),
        BlockList(
            "mode_blocks",
            "num_layers",
            (Component("attn", "self_attention"), Component("ff", "feed_forward")),
            path="mode_blocks.image.*",
        ),
        BlockList(
            "single_transformer_blocks",
            "num_single_layers",
            (Component("attn", "joint_attention"), Component("ff", "feed_forward")),
        ),
    ),
    Sizes(512, **_PACKED),
)

PRX = Family(
    "prx",
    ("PRXTransformer2DModel",),
    (
        BlockList(
            "blocks",
            "depth",
            (
                Component("attention", "joint_attention"),
                # The MLP is no module of its own; its projections are, and the last one alone reads the others.
                Component("gate_proj", "projection", feeds="down_proj"),
                Component("up_proj", "projection", feeds="down_proj"),
                Component("down_proj", "projection"),
            ),
        ),
    ),
    Sizes(256),
)
