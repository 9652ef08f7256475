"""Tiny pipelines of the families with joint attention: diffusers' own classes, random weights of a fixed seed.

They stand for one published pipeline each, as those of `tiny_models` do.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tiny_models import _TEXT_WIDTH, _clip_encoder, _pipeline, _t5_encoder, _vae, clip_tokenizer, t5_tokenizer


def tiny_sd35_medium() -> Any:
    """A `StableDiffusion3Pipeline` with a second attention in its first block."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * _TEXT_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * _TEXT_WIDTH,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return _pipeline(
        StableDiffusion3Pipeline,
        tokenizer=clip,
        tokenizer_2=clip,
        tokenizer_3=t5,
        text_encoder=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_2=CLIPTextModelWithProjection(_clip_encoder(len(clip)).config),
        text_encoder_3=_t5_encoder(len(t5), 2 * _TEXT_WIDTH),
        transformer=transformer,
        vae=_vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
    )


def tiny_qwen_image() -> Any:
    """A `QwenImagePipeline`, whose autoencoder is one for videos."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_TEXT_WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    text_config = {
        "vocab_size": len(tokenizer),
        "hidden_size": _TEXT_WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }
    vision_config = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": _TEXT_WIDTH,
    }
    text_encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text_config, vision_config=vision_config)
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return _pipeline(
        QwenImagePipeline,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@cache
def qwen_tokenizer() -> Any:
    """A `Qwen2Tokenizer` without merges: one token per byte, and those that frame what somebody says."""
    from transformers import Qwen2Tokenizer

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = {token: index for index, token in enumerate([*byte_letters(), *specials])}
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary))
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        Path(folder, "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))
        tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": specials[1:]})
    return tokenizer


def byte_letters() -> list[str]:
    """The characters that stand for bytes in byte-level vocabularies: printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]


def tiny_chroma() -> Any:
    """A `ChromaPipeline`."""
    from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=_TEXT_WIDTH,
        axes_dims_rope=(4, 6, 6),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return _pipeline(
        ChromaPipeline,
        tokenizer=tokenizer,
        text_encoder=_t5_encoder(len(tokenizer)),
        transformer=transformer,
        vae=_vae(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def tiny_auraflow() -> Any:
    """An `AuraFlowPipeline`."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=_TEXT_WIDTH,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=_TEXT_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    return _pipeline(
        AuraFlowPipeline,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        transformer=transformer,
        vae=_vae(scaling_factor=0.13025),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def tiny_flux2() -> Any:
    """A `Flux2Pipeline`, whose text is what three of the encoder's layers say, up to the thirtieth."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2Pipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    torch.manual_seed(0)
    processor = pixtral_processor()
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 8,
        axes_dims_rope=(4, 4, 4, 4),
    )
    text_config = {
        "model_type": "mistral",
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 8,
        "intermediate_size": 8,
        "max_position_embeddings": 512,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "num_hidden_layers": 30,
        "sliding_window": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vision_config = {
        "model_type": "pixtral",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "image_size": 28,
        "patch_size": 14,
    }
    text_encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text_config, vision_config=vision_config, image_token_index=1)
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(4,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    return _pipeline(
        Flux2Pipeline,
        tokenizer=processor,
        text_encoder=text_encoder,
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


@cache
def pixtral_processor() -> Any:
    """A `PixtralProcessor` with one token per byte, and a template that only strings the texts together."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PixtralImageProcessor, PixtralProcessor, PreTrainedTokenizerFast

    specials = ["<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    vocabulary = {token: index for index, token in enumerate([*specials, *byte_letters()])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PixtralProcessor(
        image_processor=PixtralImageProcessor(),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token=specials[0], additional_special_tokens=specials[1:]
        ),
        chat_template="{% for m in messages %}{% for c in m['content'] %}{{ c['text'] }}\n{% endfor %}{% endfor %}",
    )
