"""Z-Image: `ZImageTransformer2DModel` of diffusers."""

from __future__ import annotations

from ecad.families.family import BlockList, Component, Family, Sizes

_COMPONENTS = (Component("attention", "joint_attention"), Component("feed_forward", "feed_forward"))
_ALONE = (Component("attention", "self_attention"), Component("feed_forward", "feed_forward"))

ZIMAGE = Family(
    name="zimage",
    transformer_classes=("ZImageTransformer2DModel",),
    block_lists=(
        BlockList("noise_refiner", "n_refiner_layers", _ALONE),
        BlockList("context_refiner", "n_refiner_layers", _ALONE),  # sees no timestep: reusing it is exact
        BlockList("layers", "n_layers", _COMPONENTS),
    ),
    # ZImagePipeline cuts prompts at 512 tokens; its VAE decides the size (1024 pixels, 8 to a latent).
    sizes=Sizes(text_tokens=512, latents_per_token=2, sample_size=128),
)
