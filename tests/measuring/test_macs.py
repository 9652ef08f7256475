"""MACs: the paper's published integers, and torch's own count on diffusers' real transformer."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ecad.errors import ConfigError, ModelError, ScheduleError
from ecad.families import ModelSource, find_model
from ecad.families.workload import Workload, native_size, workload_for
from ecad.measuring.macs import (
    component_macs,
    constant_macs,
    dead_macs,
    schedule_macs,
    speedup_macs,
    uncached_macs,
)
from ecad.schedule import Schedule, ScheduleShape, heuristic, load_schedule

BLOCKS = "transformer_blocks"
SINGLE = "single_transformer_blocks"
COMPONENTS = ("attn1", "attn2", "ff")

# ../shared beside the repository: published files of the paper's authors, not part of the project.
OFFICIAL = Path(__file__).resolve().parents[2].parent / "shared" / "official" / "schedules"
OFFICIAL_FILES = (
    ("pixart_alpha_256/ours_fast.json", "pixart-alpha"),
    ("pixart_alpha_256/ours_faster.json", "pixart-alpha"),
    ("pixart_alpha_ablations/pop_72_imgs_pp_10_prompts_33_highest_tmacs.json", "pixart-alpha"),
    ("pixart_sigma_256/ours_fast.json", "pixart-sigma"),
    ("flux_256/ours_fast.json", "flux-dev"),
    ("flux_256_to_1024/fast_256_to_1024.json", "flux-dev-1024"),
)


def workload(name: str, **settings: Any) -> Workload:
    return workload_for(find_model(name), **settings)


def xl_shape(steps: int = 20) -> ScheduleShape:
    return ScheduleShape("pixart", steps, {BLOCKS: 28})


class TestPaperConvention:
    """The integers of the official implementation for PixArt 256: batch 2, 256 image and 120 text tokens."""

    def test_components(self) -> None:
        assert component_macs(workload("pixart-alpha"), "paper") == {
            (BLOCKS, "attn1"): 2_717_908_992,
            (BLOCKS, "attn2"): 1_995_964_416,
            (BLOCKS, "ff"): 5_435_817_984,
        }

    def test_constant_is_the_sum_of_its_parts(self) -> None:
        pos_embed, timestep_embedder, adaln_linear = 9_437_184, 3_244_032, 15_925_248
        caption_projection, proj_out = 1_450_967_040, 18_874_368
        parts = pos_embed + timestep_embedder + adaln_linear + caption_projection + proj_out
        assert parts == 1_498_447_872
        assert constant_macs(workload("pixart-alpha"), "paper") == parts

    def test_uncached(self) -> None:
        assert uncached_macs(1, workload("pixart-alpha"), "paper") == 285_689_806_848
        assert uncached_macs(20, workload("pixart-alpha"), "paper") == 5_713_796_136_960

    def test_text_tokens_and_guidance_do_not_matter(self) -> None:
        """Published numbers for Sigma assume 120 text tokens too, and always the guidance pair."""
        alpha = uncached_macs(20, workload("pixart-alpha"), "paper")
        assert workload("pixart-sigma").text_tokens == 300
        assert uncached_macs(20, workload("pixart-sigma"), "paper") == alpha
        assert uncached_macs(20, workload("pixart-alpha", has_guidance_rows=False), "paper") == alpha

    def test_flux_components(self) -> None:
        """256 pixels: batch 2, 256 image and 512 text tokens; the integers of the official implementation."""
        assert component_macs(workload("flux-dev"), "paper") == {
            (BLOCKS, "attn"): 57_982_058_496,
            (BLOCKS, "ff"): 38_654_705_664,
            (BLOCKS, "ff_context"): 77_309_411_328,
            (SINGLE, "attn"): 43_486_543_872,
            (SINGLE, "proj_mlp"): 57_982_058_496,
            (SINGLE, "proj_out"): 72_477_573_120,
        }
        assert constant_macs(workload("flux-dev"), "paper") == 19_643_498_496
        assert uncached_macs(20, workload("flux-dev"), "paper") == 198_691_510_026_240

    def test_flux_1024(self) -> None:
        assert constant_macs(workload("flux-dev-1024"), "paper") == 22_663_397_376
        assert uncached_macs(20, workload("flux-dev-1024"), "paper") == 1_190_245_108_285_440

    @pytest.mark.parametrize(("file", "model"), OFFICIAL_FILES)
    def test_published_schedules(self, file: str, model: str) -> None:
        path = OFFICIAL / file
        if not path.is_file():
            pytest.skip(f"the published schedule {file} is not at hand (looked in {OFFICIAL})")
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        assert schedule_macs(load_schedule(path), workload(model), "paper") == metrics["total_macs"]


@cache
def torch_counts(name: str) -> dict[str, int]:
    """Module name -> MACs by FlopCounterMode, of one forward of the real transformer on the meta device.

    There `scaled_dot_product_attention` runs as its plain products (`aten.bmm`), which FlopCounterMode counts;
    `test_attention_products_are_seen` makes sure of it. The counter gives 2 FLOPs per multiply-accumulate.
    """
    load = workload(name)
    with torch.device("meta"):
        transformer, inputs = pixart_on_meta(load) if load.family == "pixart" else flux_on_meta(load)
    with torch.no_grad(), FlopCounterMode(display=False, depth=None) as counter:
        transformer.eval()(**inputs)
    counts: dict[str, int] = {}
    for module, operations in counter.get_flop_counts().items():
        flops = sum(operations.values())
        assert flops % 2 == 0
        counts[module.removeprefix(type(transformer).__name__).removeprefix(".")] = flops // 2
    return counts


def pixart_on_meta(load: Workload) -> tuple[Any, dict[str, Any]]:
    from diffusers import PixArtTransformer2DModel

    config = dict(load.transformer)
    additional = config["use_additional_conditions"]
    return PixArtTransformer2DModel(**config), {
        "hidden_states": torch.empty(load.rows, config["in_channels"], load.latent_height, load.latent_width),
        "encoder_hidden_states": torch.empty(load.rows, load.text_tokens, config["caption_channels"]),
        "encoder_attention_mask": torch.empty(load.rows, load.text_tokens),
        "timestep": torch.empty(load.rows),
        "added_cond_kwargs": {
            "resolution": torch.empty(load.rows, 2) if additional else None,
            "aspect_ratio": torch.empty(load.rows, 1) if additional else None,
        },
    }


def flux_on_meta(load: Workload) -> tuple[Any, dict[str, Any]]:
    from diffusers import FluxTransformer2DModel

    config = dict(load.transformer)
    return FluxTransformer2DModel(**config), {
        "hidden_states": torch.empty(load.rows, load.image_tokens, config["in_channels"]),
        "encoder_hidden_states": torch.empty(load.rows, load.text_tokens, config["joint_attention_dim"]),
        "pooled_projections": torch.empty(load.rows, config["pooled_projection_dim"]),
        "timestep": torch.empty(load.rows),
        "img_ids": torch.empty(load.image_tokens, 3),
        "txt_ids": torch.empty(load.text_tokens, 3),
        "guidance": torch.empty(load.rows) if config["guidance_embeds"] else None,
    }


@pytest.mark.parametrize(
    "name",
    [
        "pixart-alpha",
        "pixart-alpha-512",
        "pixart-alpha-1024",
        "pixart-sigma",
        "pixart-sigma-1024",
        "pixart-mini",
        "flux-dev",
        "flux-dev-1024",
        "flux-schnell",
    ],
)
class TestTrueConvention:
    def load(self, name: str) -> Workload:
        load = workload(name)
        if name == "pixart-mini" and load.transformer.get("use_additional_conditions") is None:
            return replace(load, transformer={**load.transformer, "use_additional_conditions": False})
        return load

    def test_one_step(self, name: str) -> None:
        assert uncached_macs(1, self.load(name)) == torch_counts(name)["Global"]

    def test_every_block_and_component(self, name: str) -> None:
        counts = torch_counts(name)
        for (block_list, component), macs in component_macs(self.load(name)).items():
            key = "num_layers" if block_list == BLOCKS else "num_single_layers"
            for block in range(self.load(name).transformer[key]):
                assert counts[f"{block_list}.{block}.{component}"] == macs

    def test_constant(self, name: str) -> None:
        counts, load = torch_counts(name), self.load(name)
        outside = ["pos_embed", "adaln_single", "caption_projection", "proj_out"]
        if load.family == "flux":
            outside = ["x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out"]
            outside += [
                f"{BLOCKS}.{block}.{norm}" for block in range(19) for norm in ("norm1", "norm1_context")
            ]
            outside += [f"{SINGLE}.{block}.norm" for block in range(38)]
        assert constant_macs(load) == sum(counts[module] for module in outside)

    def test_attention_products_are_seen(self, name: str) -> None:
        """Per row QK^T and AV: (keys x queries x width) each, so torch's count exceeds the linear layers'."""
        counts, load = torch_counts(name), self.load(name)
        width = load.transformer["num_attention_heads"] * load.transformer["attention_head_dim"]
        tokens, attention, parts = load.image_tokens, "attn1", ["to_q", "to_k", "to_v", "to_out.0"]
        if load.family == "flux":
            tokens, attention = tokens + load.text_tokens, "attn"
            parts += ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
        linears = sum(counts[f"{BLOCKS}.0.{attention}.{part}"] for part in parts)
        assert counts[f"{BLOCKS}.0.{attention}"] - linears == load.rows * 2 * tokens**2 * width


class TestSchedules:
    def test_hand_count(self) -> None:
        """Width 4, one image and one text token, one row: every number is worked out by hand."""
        tiny = Workload(
            family="pixart",
            transformer={
                "num_layers": 2,
                "num_attention_heads": 1,
                "attention_head_dim": 4,
                "in_channels": 1,
                "out_channels": None,
                "patch_size": 1,
                "sample_size": 1,
                "caption_channels": None,
                "cross_attention_dim": 3,
            },
            height=8,
            width=8,
            latent_height=1,
            latent_width=1,
            image_tokens=1,
            text_tokens=1,
            rows=1,
        )
        # attn1: 4 linears of 4 x 4, two products of 4; attn2: 2 of 4 x 4, 2 of 3 x 4, two products of 4.
        expected = {
            (BLOCKS, "attn1"): 64 + 8,
            (BLOCKS, "attn2"): 32 + 24 + 8,
            (BLOCKS, "ff"): 64 + 64,
        }
        assert component_macs(tiny) == expected
        # Patch embedding 4, timestep 256 x 4 + 4 x 4, modulation 4 x 24, output 4.
        constant = 4 + 1024 + 16 + 96 + 4
        assert constant_macs(tiny) == constant
        recompute = np.zeros((3, 2, 3), dtype=bool)
        recompute[2, 1, 0] = True  # step 0 counts whatever its flags say
        schedule = Schedule("pixart", {BLOCKS: recompute})
        assert schedule_macs(schedule, tiny) == 3 * constant + 2 * (72 + 64 + 128) + 72
        assert uncached_macs(3, tiny) == 3 * (constant + 2 * (72 + 64 + 128))
        # Where the whole output is reused nothing at all is computed.
        skipping = schedule.replace(recompute_output=np.array([1, 0, 1], dtype=np.bool_))
        assert schedule_macs(skipping, tiny) == 2 * constant + 2 * (72 + 64 + 128) + 72
        gated = replace(tiny, transformer={**tiny.transformer, "activation_fn": "geglu"})
        assert component_macs(gated)[BLOCKS, "ff"] == 128 + 64

    def test_dead_compute_is_not_counted(self) -> None:
        """Attention of one single-stream block runs in steps 1 and 2, its reader in 0 and 2: step 1's is never read."""
        load = workload("flux-schnell")
        shape = ScheduleShape("flux", 4, {BLOCKS: 19, SINGLE: 38})
        arrays = shape.filled(False)
        arrays[SINGLE][1:3, 5, 0] = True
        arrays[SINGLE][2, 5, 2] = True
        arrays[SINGLE][3, 5, 1] = True  # read by nobody: the last step
        schedule = Schedule("flux", arrays)
        parts = component_macs(load)
        live = parts[SINGLE, "attn"] + parts[SINGLE, "proj_out"]
        dead = parts[SINGLE, "attn"] + parts[SINGLE, "proj_mlp"]
        assert dead_macs(schedule, load) == dead
        assert schedule_macs(schedule, load) == uncached_macs(1, load) + 3 * constant_macs(load) + live
        paper = component_macs(load, "paper")
        expected = uncached_macs(1, load, "paper") + 3 * constant_macs(load, "paper")
        expected += 2 * paper[SINGLE, "attn"] + paper[SINGLE, "proj_mlp"] + paper[SINGLE, "proj_out"]
        assert schedule_macs(schedule, load, "paper") == expected
        assert dead_macs(heuristic("random:0.5", xl_shape()), workload("pixart-alpha")) == 0

    @pytest.mark.parametrize("convention", ["true", "paper"])
    def test_speedup(self, convention: str) -> None:
        load = workload("pixart-alpha")
        assert speedup_macs(Schedule.all_recompute(xl_shape()), load, convention) == 1.0
        fora = heuristic("fora:2", xl_shape())
        expected = uncached_macs(20, load, convention) / schedule_macs(fora, load, convention)
        assert speedup_macs(fora, load, convention) == expected
        assert 1.9 < expected < 2.0

    def test_half_the_rows_without_guidance(self) -> None:
        pair, single = workload("pixart-alpha"), workload("pixart-alpha", has_guidance_rows=False)
        assert uncached_macs(1, pair) == 2 * uncached_macs(1, single)

    def test_schedule_that_does_not_fit(self) -> None:
        short = Schedule.all_recompute(ScheduleShape("pixart", 20, {BLOCKS: 27}))
        with pytest.raises(ScheduleError, match="27.*28"):
            schedule_macs(short, workload("pixart-alpha"))
        other = replace(workload("pixart-alpha"), family="other")
        with pytest.raises(ScheduleError, match="pixart.*other"):
            schedule_macs(short, other)
        with pytest.raises(ModelError, match="other"):
            component_macs(other)
        with pytest.raises(ConfigError, match="flops"):
            component_macs(workload("pixart-alpha"), "flops")


class TestWorkload:
    def test_preset(self) -> None:
        load = workload("pixart-alpha-1024")
        assert (load.height, load.width) == (1024, 1024)
        assert (load.latent_height, load.latent_width) == (128, 128)
        assert (load.image_tokens, load.text_tokens, load.rows) == (4096, 120, 2)

    def test_other_sizes(self) -> None:
        load = workload("pixart-sigma", height=512, width=256, text_tokens=77, has_guidance_rows=False)
        assert (load.latent_height, load.latent_width) == (64, 32)
        assert (load.image_tokens, load.text_tokens, load.rows) == (512, 77, 1)

    def test_flux(self) -> None:
        load = workload("flux-dev-1024")
        assert (load.latent_height, load.image_tokens, load.text_tokens, load.rows) == (128, 4096, 512, 1)
        assert workload("flux-schnell").text_tokens == 256
        wide = workload("flux-dev", height=256, width=512, has_guidance_rows=True)
        assert (wide.image_tokens, wide.rows) == (512, 2)
        assert uncached_macs(1, wide) == 2 * uncached_macs(1, workload("flux-dev", width=512))
        with pytest.raises(ConfigError, match="height.*16.*264"):
            workload("flux-dev", height=264)

    def test_flux_folder(self, tmp_path: Path) -> None:
        config = {
            **(find_model("flux-dev").transformer_config or {}),
            "_class_name": "FluxTransformer2DModel",
        }
        source = folder(tmp_path, config, {"block_out_channels": [8] * 4})
        assert native_size(source) == 1024  # the pipeline's default
        assert workload_for(source).text_tokens == 512

    def test_local_folder(self, tmp_path: Path) -> None:
        source = folder(tmp_path, {}, {"block_out_channels": [8, 8, 8]})
        load = workload_for(source)
        # Three blocks of the VAE: a factor of 4; sample_size 16, so 64 pixels.
        assert native_size(source) == load.height == load.width == 64
        assert (load.latent_height, load.image_tokens, load.text_tokens) == (16, 64, 120)

    @pytest.mark.parametrize("vae", [None, {}, {"block_out_channels": 3}, {"block_out_channels": []}, []])
    def test_bad_vae(self, tmp_path: Path, vae: Any) -> None:
        with pytest.raises(ModelError, match="block_out_channels"):
            workload_for(folder(tmp_path, {}, vae))

    @pytest.mark.parametrize(
        "key", ["patch_size", "sample_size", "num_attention_heads", "cross_attention_dim"]
    )
    @pytest.mark.parametrize("value", [None, "2", 0, True])
    def test_bad_config(self, tmp_path: Path, key: str, value: Any) -> None:
        with pytest.raises(ModelError, match=key):
            component_macs(workload_for(folder(tmp_path, {key: value}, {"block_out_channels": [8]})))

    @pytest.mark.parametrize("height", [0, -16, 8, 250])
    def test_bad_size(self, height: int) -> None:
        with pytest.raises(ConfigError, match=f"height.*16.*{height}"):
            workload("pixart-alpha", height=height)

    def test_bad_text_tokens(self) -> None:
        with pytest.raises(ConfigError, match="text tokens"):
            workload("pixart-alpha", text_tokens=0)

    def test_unknown_hub_model(self) -> None:
        with pytest.raises(ModelError, match="somebody/model"):
            workload("somebody/model")

    def test_additional_conditions_default_as_in_diffusers(self) -> None:
        load = workload("pixart-alpha-1024")
        config = {key: value for key, value in load.transformer.items() if key != "use_additional_conditions"}
        assert constant_macs(replace(load, transformer=MappingProxyType(config))) == constant_macs(load)


def folder(path: Path, changes: dict[str, Any], vae: Any) -> ModelSource:
    """A local pipeline folder with nothing but configs."""
    config = {
        "_class_name": "PixArtTransformer2DModel",
        "num_layers": 2,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "in_channels": 4,
        "out_channels": 8,
        "patch_size": 2,
        "sample_size": 16,
        "caption_channels": 16,
        "cross_attention_dim": 16,
        **changes,
    }
    pipeline = "FluxPipeline" if "Flux" in str(config["_class_name"]) else "PixArtAlphaPipeline"
    (path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), encoding="utf-8")
    for name, content in (("transformer", config), ("vae", vae)):
        (path / name).mkdir()
        if content is not None:
            (path / name / "config.json").write_text(json.dumps(content), encoding="utf-8")
    return find_model(str(path))
