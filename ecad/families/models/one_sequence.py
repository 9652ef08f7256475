"""Models whose blocks are an attention and a feed-forward over text and image as one sequence, under many names."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes


def _blocks(name: str, count_key: str, attention: str, feed_forward: str) -> BlockList:
    return BlockList(
        name, count_key, (Component(attention, "joint_attention"), Component(feed_forward, "feed_forward"))
    )


OMNIGEN = Family(
    "omnigen",
    ("OmniGenTransformer2DModel",),
    (_blocks("layers", "num_layers", "self_attn", "mlp"),),
    Sizes(256, sample_size=128),
)
ERNIE_IMAGE = Family(
    "ernie-image",
    ("ErnieImageTransformer2DModel",),
    (_blocks("layers", "num_layers", "self_attention", "mlp"),),
    Sizes(512),
)
IDEOGRAM4 = Family(
    "ideogram4",
    ("Ideogram4Transformer2DModel",),
    (_blocks("layers", "num_layers", "attention", "feed_forward"),),
    Sizes(2048),
)
# The blocks that fuse the text encoder's layers (text_fusion) see text alone and stay outside.
KREA2 = Family(
    "krea2",
    ("Krea2Transformer2DModel",),
    (_blocks("transformer_blocks", "num_layers", "attn", "ff"),),
    Sizes(512),
)
# So does the token refiner.
MINIMAX_H3 = Family(
    "minimax-h3",
    ("MiniMaxH3Transformer3DModel",),
    (_blocks("transformer_blocks", "num_layers", "attn", "ff"),),
    Sizes(512),
)
NUCLEUS_IMAGE = Family(
    "nucleus-image",
    ("NucleusMoEImageTransformer2DModel",),
    (_blocks("transformer_blocks", "num_layers", "attn", "img_mlp"),),  # img_mlp: experts in most blocks
    Sizes(1024, sample_size=128),
)
# Two streams that share an attention; text sees itself alone, so reusing its feed-forward (mlp) loses nothing.
COSMOS3 = Family(
    "cosmos3",
    ("Cosmos3OmniTransformer",),
    (
        BlockList(
            "layers",
            "num_hidden_layers",
            (
                Component("self_attn", "joint_attention"),
                Component("mlp", "feed_forward"),
                Component("mlp_moe_gen", "feed_forward"),
            ),
        ),
    ),
    Sizes(512),
)
QWEN_IMAGE21 = Family(
    "qwen-image-2.1",
    ("QwenImage21Transformer2DModel",),
    (_blocks("transformer_blocks", "num_layers", "attn", "img_mlp"),),
    Sizes(1024),
    guidance_setting="true_cfg_scale",
)
