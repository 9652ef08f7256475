"""Steps masks for other tools: what can be said, what is refused, and that the real cache-dit reads it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecad.errors import ScheduleError
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.files import FORMATS, export_schedule
from ecad.schedule.files.steps_mask import dump_cache_dit, dump_sd_cpp, dump_sglang, steps_mask

PIXART = ScheduleShape("pixart", 10, {"transformer_blocks": 3})
FLUX = ScheduleShape("flux", 10, {"transformer_blocks": 2, "single_transformer_blocks": 3})
SD3 = ScheduleShape("sd3", 10, {"transformer_blocks": 2})  # its last block lacks a component
MASK = (1, 1, 1, 0, 0, 1, 0, 0, 1, 0)
STEPS = "0,1,2,5,8"
SHAPES = pytest.mark.parametrize("shape", [PIXART, FLUX, SD3], ids=lambda shape: shape.family)


@SHAPES
@pytest.mark.parametrize("kind", ["mask", "output"])
def test_a_step_level_schedule_is_its_mask(shape: ScheduleShape, kind: str) -> None:
    assert steps_mask(heuristic(f"{kind}:{STEPS}", shape)) == MASK
    assert steps_mask(heuristic("all", shape)) == (1,) * 10


def test_components_and_the_whole_output_may_both_be_what_is_reused() -> None:
    by_components = heuristic("mask:0,5", PIXART)
    output = by_components.recompute_output.copy()
    output[7] = False
    assert steps_mask(by_components.replace(recompute_output=output)) == (1, 0, 0, 0, 0, 1, 0, 0, 0, 0)


@SHAPES
def test_a_mixed_step_is_refused_by_its_number(shape: ScheduleShape) -> None:
    schedule = heuristic("fora:3", shape)
    first = schedule.spec.block_list_names[0]
    arrays = {name: array.copy() for name, array in schedule.recompute.items()}
    arrays[first][4, 1, 0] = True
    with pytest.raises(
        ScheduleError, match=r"^step 4 is mixed: it recomputes 1 of \d+ components.*ecad schedule new"
    ):
        steps_mask(schedule.replace(recompute=arrays))


def test_where_a_mask_per_component_would_do_it_is_named() -> None:
    with pytest.raises(ScheduleError, match="step 1 is mixed: it recomputes 3 of 9 .*--format smoothcache"):
        steps_mask(heuristic("attn:2", PIXART))


def test_values_that_nobody_reads_do_not_count() -> None:
    """FLUX's single-stream `attn` feeds `proj_out` alone: recomputed in step 1, overwritten in 2, never read."""
    schedule = heuristic("mask:0,2", ScheduleShape("flux", 4, FLUX.blocks))
    arrays = {name: array.copy() for name, array in schedule.recompute.items()}
    arrays["single_transformer_blocks"][1, :, 0] = True
    assert steps_mask(schedule.replace(recompute=arrays)) == (1, 0, 1, 0)
    arrays["single_transformer_blocks"][1, 0, 2] = True  # proj_out of one block: now it is read
    with pytest.raises(ScheduleError, match="step 1 is mixed: it recomputes 2 of 15"):
        steps_mask(schedule.replace(recompute=arrays))


def test_cache_dit_by_hand() -> None:
    text = dump_cache_dit(heuristic(f"output:{STEPS}", FLUX))
    assert yaml.safe_load(text) == {
        "cache_config": {
            "Fn_compute_blocks": 1,
            "Bn_compute_blocks": 0,
            "max_warmup_steps": 3,
            "num_inference_steps": 10,
            "steps_computation_mask": list(MASK),
            "steps_computation_policy": "static",
        }
    }
    assert "A 0 is not what it is in ecad" in text


def test_sd_cpp_by_hand(tmp_path: Path) -> None:
    lines = dump_sd_cpp(heuristic(f"output:{STEPS}", FLUX)).splitlines()
    (arguments,) = [line for line in lines if not line.startswith("#")]  # as the comment's grep does
    assert shlex.split(arguments) == [
        *("--cache-mode", "cache-dit", "--cache-option", "Fn=1,Bn=0,warmup=3"),
        *("--scm-mask", "1,1,1,0,0,1,0,0,1,0", "--scm-policy", "static"),
    ]
    assert any("A 0 is not what it is in ecad" in line for line in lines)


def test_sglang_by_hand() -> None:
    text = dump_sglang(heuristic(f"output:{STEPS}", FLUX))
    values = dict(re.findall(r"^export SGLANG_CACHE_DIT_(\w+)=(.*)$", text, re.MULTILINE))
    assert values == {
        "ENABLED": "true",
        "FN": "1",
        "BN": "0",
        "WARMUP": "3",
        "SCM_COMPUTE_BINS": "3,1,1",
        "SCM_CACHE_BINS": "2,2,1",
        "SCM_POLICY": "static",
    }
    assert "A 0 is not what it is in ecad" in text
    with pytest.raises(ScheduleError, match="recomputes every step"):
        dump_sglang(heuristic("all", FLUX))


@pytest.mark.parametrize("name", ["cache-dit", "sd.cpp", "sglang"])
def test_a_name_cannot_leave_its_comment(name: str, tmp_path: Path) -> None:
    schedule = heuristic("output:0,5", PIXART).replace(name="\u00e9\nBn_compute_blocks: 9\n" + "x" * 100)
    text = FORMATS[name].dump(schedule)
    assert text.isascii()
    assert all(not line.startswith(("Bn_", "x")) for line in text.splitlines())
    export_schedule(schedule, tmp_path / "a" / "file", name)
    assert (tmp_path / "a" / "file").read_text(encoding="ascii") == text


@pytest.mark.parametrize("seed", range(20))
def test_round_trip(seed: int) -> None:
    """Masks of any pattern: read back from each format they are the schedule's steps."""
    rng = np.random.default_rng(seed)
    shape = ScheduleShape("pixart", int(rng.integers(2, 60)), {"transformer_blocks": 2})
    steps = sorted({0, *rng.integers(0, shape.steps, size=shape.steps // 3).tolist()})
    schedule = heuristic(f"output:{','.join(map(str, steps))}", shape)
    mask = yaml.safe_load(dump_cache_dit(schedule))["cache_config"]["steps_computation_mask"]
    assert again(mask, shape) == schedule
    digits = re.search(r"--scm-mask ([01,]+)", dump_sd_cpp(schedule))
    assert digits is not None
    assert [int(digit) for digit in digits[1].split(",")] == mask
    bins = {name: [int(length) for length in runs.split(",")] for name, runs in bins_of(schedule).items()}
    unrolled: list[int] = []
    for index, computed in enumerate(bins["COMPUTE"]):
        unrolled += [1] * computed + [0] * sum(bins["CACHE"][index : index + 1])
    assert unrolled == mask


def again(mask: list[int], shape: ScheduleShape) -> Schedule:
    """The schedule that reuses the whole output where the mask has 0."""
    steps = ",".join(str(step) for step, digit in enumerate(mask) if digit)
    return heuristic(f"output:{steps}", shape)


def bins_of(schedule: Schedule) -> dict[str, str]:
    return dict(re.findall(r"SCM_(COMPUTE|CACHE)_BINS=([\d,]+)", dump_sglang(schedule)))


# --- the real thing, where it is installed ---


@pytest.fixture(scope="module")
def cache_dit():  # type: ignore[no-untyped-def]
    return pytest.importorskip("cache_dit", reason="cache-dit is not installed: pip install cache-dit")


def test_the_real_cache_dit_reads_the_mask(cache_dit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "fast.yaml"
    export_schedule(heuristic(f"output:{STEPS}", FLUX), path, "cache-dit")
    config = cache_dit.load_configs(str(path))["cache_config"]
    assert config.steps_computation_mask == list(MASK)
    assert (config.steps_computation_policy, config.num_inference_steps) == ("static", 10)
    assert (config.Fn_compute_blocks, config.Bn_compute_blocks, config.max_warmup_steps) == (1, 0, 3)


_RUN = """
import sys
import cache_dit
import torch
from tiny_models import tiny_flux

pipe = tiny_flux()
pipe.set_progress_bar_config(disable=True)
calls = {}

def count(name):
    calls[name] = []
    return lambda *arguments: calls[name].append(step[0])

step = [-1]
pipe.transformer.register_forward_pre_hook(lambda *arguments: step.__setitem__(0, step[0] + 1))
for name in ("transformer_blocks", "single_transformer_blocks"):
    for number, block in enumerate(getattr(pipe.transformer, name)):
        block.register_forward_pre_hook(count(f"{name}.{number}"))
cache_dit.enable_cache(pipe, **cache_dit.load_configs(sys.argv[1]))
pipe("a cat", num_inference_steps=10, height=64, width=64, output_type="latent")
for name, steps in calls.items():
    print("ran", name, *steps)
"""


def test_the_real_cache_dit_follows_the_mask(cache_dit, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The first block runs in every step, the others in those with 1. In a process of its own: it patches classes."""
    path = tmp_path / "fast.yaml"
    export_schedule(heuristic(f"output:{STEPS}", FLUX), path, "cache-dit")
    tests = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", _RUN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    ran = {words[1]: words[2:] for line in done.stdout.splitlines() if (words := line.split())[:1] == ["ran"]}
    assert ran.pop("transformer_blocks.0") == [str(step) for step in range(10)]
    assert len(ran) == 4
    assert all(steps == STEPS.split(",") for steps in ran.values()), ran


@pytest.mark.parametrize("text", ["output:0,1,2,5,8", "output:0", "mask:0,9", "fora:2"])
def test_the_real_cache_dit_unrolls_the_bins(text: str, cache_dit) -> None:  # type: ignore[no-untyped-def]
    schedule = heuristic(text, FLUX)
    bins = {name: [int(length) for length in runs.split(",")] for name, runs in bins_of(schedule).items()}
    mask = cache_dit.steps_mask(compute_bins=bins["COMPUTE"], cache_bins=bins["CACHE"], total_steps=10)
    assert tuple(mask) == steps_mask(schedule)
