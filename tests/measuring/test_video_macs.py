"""Formulas of the video families against torch's own count and real outputs, exactly, on tiny models."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from conformance.tiny import Subject, tensors_of

from ecad.errors import ConfigError, ModelError
from ecad.families import find_model
from ecad.families.family import Workload
from ecad.families.vae import scales_of
from ecad.families.workload import workload_for
from ecad.measuring.macs import (
    component_macs,
    component_output_values,
    constant_macs,
    uncached_macs,
    whole_output_values,
)
from ecad.sampling.counting import flop_counter

ROWS = 2
# File of the tiny model, its place there, and image tokens and latent (frames, height, width) of its inputs.
TINY = [
    ("wan", 0, 8, (2, 4, 4)),
    ("ltx", 0, 8, (2, 2, 2)),
    ("cogvideox", 0, 8, (2, 4, 4)),
    ("cogvideox", 1, 4, (2, 4, 4)),
    ("hunyuan_video", 0, 8, (2, 4, 4)),
]


@pytest.mark.parametrize(("file", "index", "tokens", "size"), TINY)
def test_formulas_are_what_torch_counts(
    file: str, index: int, tokens: int, size: tuple[int, int, int]
) -> None:
    subject = Subject(import_module(f"conformance.models.{file}").MODELS[index])
    transformer = subject.transformer
    frames, height, width = size
    load = Workload(
        family=subject.family.name,
        transformer=dict(transformer.config),
        height=8 * height,
        width=8 * width,
        latent_height=height,
        latent_width=width,
        image_tokens=tokens,
        text_tokens=5,
        rows=ROWS,
        num_frames=4 * frames - 3,
        latent_frames=frames,
    )
    outputs: dict[Any, int] = {}

    def note(key: Any) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            outputs[key] = sum(tensor.numel() for tensor in tensors_of(output))

        return hook

    names = {module: name for name, module in transformer.named_modules()}
    components = {
        (name, subject.family.block_list(name).component_names[component], block): module
        for name, block, component, module in subject.components()
    }
    handles = [module.register_forward_hook(note(key)) for key, module in components.items()]
    handles.append(transformer.register_forward_hook(note("whole")))
    with flop_counter() as counter:
        counter.depth = None
        subject.forward(0, ROWS)
    for handle in handles:
        handle.remove()
    counts = {
        module.partition(".")[2]: sum(operations.values())
        for module, operations in counter.get_flop_counts().items()
    }
    assert counter.get_total_flops() == 2 * uncached_macs(1, load)
    macs, values = component_macs(load), component_output_values(load)
    for (block_list, component, block), module in components.items():
        assert counts[names[module]] == 2 * macs[block_list, component], (component, block)
        assert outputs[block_list, component, block] == values[block_list, component]
    assert outputs["whole"] == whole_output_values(load)
    assert sum(counts[names[module]] for module in components.values()) + 2 * constant_macs(
        load
    ) == 2 * uncached_macs(1, load)


def test_paper_convention_leaves_out_attention_products() -> None:
    load = workload_for(find_model("ltx-video"))
    width = 2048
    true, paper = (component_macs(load, convention) for convention in ("true", "paper"))
    blocks = "transformer_blocks"
    assert true[blocks, "attn1"] - paper[blocks, "attn1"] == 2 * 2 * load.image_tokens**2 * width
    assert true[blocks, "ff"] == paper[blocks, "ff"]


class TestWorkload:
    @pytest.mark.parametrize(
        ("name", "latent", "tokens", "rows"),
        [
            ("wan2.1-1.3b", (21, 60, 104), 21 * 30 * 52, 2),
            ("ltx-video", (21, 16, 22), 21 * 16 * 22, 2),
            ("cogvideox-2b", (13, 60, 90), 13 * 30 * 45, 2),
            ("hunyuan-video", (33, 90, 160), 33 * 45 * 80, 1),
        ],
    )
    def test_presets(self, name: str, latent: tuple[int, int, int], tokens: int, rows: int) -> None:
        load = workload_for(find_model(name))
        assert (load.latent_frames, load.latent_height, load.latent_width) == latent
        assert (load.image_tokens, load.rows) == (tokens, rows)

    def test_frames(self) -> None:
        wan = find_model("wan2.1-1.3b")
        assert workload_for(wan, num_frames=5).latent_frames == 2
        assert workload_for(wan, num_frames=1).image_tokens == 30 * 52
        with pytest.raises(ConfigError, match=r"1 more than a multiple of 4 for wan2.1-1.3b, not 6"):
            workload_for(wan, num_frames=6)
        with pytest.raises(ConfigError, match="pixart-alpha cannot make 5 frames"):
            workload_for(find_model("pixart-alpha"), num_frames=5)

    def test_image_to_video_has_no_formulas(self) -> None:
        load = workload_for(find_model("wan2.1-1.3b"))
        other = Workload(**{**vars(load), "transformer": {**load.transformer, "image_dim": 1280}})
        with pytest.raises(ModelError, match="text to video"):
            component_macs(other)


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"scale_factor_spatial": 16, "scale_factor_temporal": 4}, (16, 4)),
        ({"block_out_channels": [8] * 4, "temporal_compression_ratio": 4.0}, (8, 4)),
        ({"spatio_temporal_scaling": [True, True, True, False], "patch_size": 4, "patch_size_t": 1}, (32, 8)),
        ({"block_out_channels": [8] * 3}, (4, 1)),
    ],
)
def test_scales_of_a_vae(config: dict[str, Any], scales: tuple[int, int]) -> None:
    assert scales_of(config) == scales


def test_scales_are_those_of_diffusers() -> None:
    from diffusers import AutoencoderKLLTXVideo

    with torch.device("meta"):
        vae = AutoencoderKLLTXVideo()
    assert scales_of(vae.config) == (vae.spatial_compression_ratio, vae.temporal_compression_ratio)
