"""The ImageReward network, built from transformers' BLIP parts, so that the published checkpoint can be read
without the package (which cannot live beside current transformers and open_clip).

A BLIP vision transformer embeds the image; a BLIP text encoder reads the prompt and looks at the image through
cross-attention; a small linear head turns the first token's state into the reward (Xu et al. 2023, ImageReward,
arXiv 2304.05977; image-reward 1.5, `ImageReward.score_gard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ecad.errors import ConfigError, one_line

# The rewards' mean and standard deviation on the authors' data (image-reward 1.5).
REWARD_MEAN = 0.16717362830052426
REWARD_STD = 1.0333394966054072

# Channels per attention head in all of BLIP's vision transformers; the checkpoint does not say.
_VISION_HEAD_CHANNELS = 64

# Beginnings and parts of the package's names -> transformers' names.
_RENAMED = (
    ("blip.visual_encoder.cls_token", "vision.embeddings.class_embedding"),
    ("blip.visual_encoder.pos_embed", "vision.embeddings.position_embedding"),
    ("blip.visual_encoder.patch_embed.proj.", "vision.embeddings.patch_embedding."),
    ("blip.visual_encoder.blocks.", "vision.encoder.layers."),
    ("blip.visual_encoder.norm.", "vision.post_layernorm."),
    ("blip.text_encoder.", "text."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.projection."),
    ("mlp.layers.", "head."),
)
# In the checkpoint, but not used for the reward.
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


class ImageRewardModel(nn.Module):
    """Rewards of (prompt, image) pairs. `vision_config`, `text_config`: of BLIP; `head_widths`: of the head."""

    def __init__(
        self, vision_config: Mapping[str, Any], text_config: Mapping[str, Any], head_widths: Mapping[int, Any]
    ) -> None:
        from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        super().__init__()
        self.vision = BlipVisionModel(BlipVisionConfig(**vision_config))
        self.text = BlipTextModel(BlipTextConfig(**text_config), add_pooling_layer=False)
        # The head is linear throughout; dropout layers, which do nothing here, stand between the published ones.
        self.head = nn.Sequential(
            *(
                nn.Linear(*head_widths[place]) if place in head_widths else nn.Identity()
                for place in range(max(head_widths) + 1)
            )
        )

    @property
    def image_size(self) -> int:
        """Height and width of the images it takes, pixels."""
        return int(self.vision.config.image_size)

    def embed_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Patch embeddings (n, 1 + patches, channels) of normalised images (n, 3, size, size)."""
        embedding: torch.Tensor = self.vision(pixel_values).last_hidden_state
        return embedding

    def rewards(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, image_embeddings: torch.Tensor
    ) -> torch.Tensor:
        """Rewards (n,) of prompts, as token ids and mask (n, tokens), for embedded images."""
        states = self.text(
            input_ids, attention_mask=attention_mask, encoder_hidden_states=image_embeddings, use_cache=False
        ).last_hidden_state
        raw: torch.Tensor = self.head(states[:, 0]).squeeze(-1)
        return (raw - REWARD_MEAN) / REWARD_STD


def build_image_reward(
    state: Mapping[str, torch.Tensor], med_config: Mapping[str, Any], origin: str = "the checkpoint"
) -> ImageRewardModel:
    """The network with the weights of the package's state dict `state` and the text settings `med_config`.

    The weights are not copied. Raises ConfigError, naming `origin`, if they are not ImageReward's.
    """
    try:
        # On "meta" nothing is allocated or initialised; the weights then take the parameters' places.
        with torch.device("meta"):
            model = ImageRewardModel(_vision_config(state), _text_config(med_config), _head_widths(state))
        model.load_state_dict(_renamed(state), strict=True, assign=True)
    except (KeyError, ValueError, RuntimeError) as error:
        detail = one_line(error)[:300]
        raise ConfigError(
            f"{origin} does not hold ImageReward's weights ({type(error).__name__}: {detail}): take "
            "ImageReward.pt and med_config.json of THUDM/ImageReward"
        ) from None
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:  # position ids, the only buffers, are not in the state dict
                ids = torch.arange(buffer.shape[-1], dtype=buffer.dtype).expand(buffer.shape).clone()
                setattr(module, name, ids)
    return model.eval().requires_grad_(False)


def _renamed(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = {}
    for key, value in state.items():
        if key.startswith(_UNUSED):
            continue
        new = key
        for old_part, new_part in _RENAMED:
            new = new.replace(old_part, new_part)
        result[new] = value
    return result


def _vision_config(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    patches = state["blip.visual_encoder.patch_embed.proj.weight"]  # (channels, 3, patch, patch)
    positions = state["blip.visual_encoder.pos_embed"].shape[1] - 1
    blocks = {key.split(".")[3] for key in state if key.startswith("blip.visual_encoder.blocks.")}
    return {
        "hidden_size": patches.shape[0],
        "intermediate_size": state["blip.visual_encoder.blocks.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(blocks),
        "num_attention_heads": patches.shape[0] // _VISION_HEAD_CHANNELS,
        "image_size": round(positions**0.5) * patches.shape[-1],
        "patch_size": patches.shape[-1],
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,  # BLIP's; transformers' default is 1e-5
    }


def _text_config(med_config: Mapping[str, Any]) -> dict[str, Any]:
    same = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "layer_norm_eps",
        "hidden_act",
        "pad_token_id",
    )
    return {
        **{name: med_config[name] for name in same},
        "encoder_hidden_size": med_config["encoder_width"],
        "is_decoder": True,  # this gives the layers their cross-attention; the calls stay bidirectional
    }


def _head_widths(state: Mapping[str, torch.Tensor]) -> dict[int, tuple[int, int]]:
    """Place in the sequence -> (inputs, outputs)."""
    return {
        int(key.split(".")[2]): (value.shape[1], value.shape[0])
        for key, value in state.items()
        if key.startswith("mlp.layers.") and key.endswith(".weight")
    }
