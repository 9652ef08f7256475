"""Freeing what nobody will read saves the predicted bytes of memory, leaving out dead compute the predicted MACs."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import ecad
from ecad.families.workload import Workload
from ecad.measuring.macs import component_macs, component_output_values, dead_macs, stored_bytes
from ecad.schedule import Schedule

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "memory"
SINGLE = "single_transformer_blocks"


@pytest.fixture(scope="module")
def live() -> ModuleType:
    """experiments/memory/live_bytes.py, which the published figures are measured with."""
    spec = importlib.util.spec_from_file_location("live_bytes", EXPERIMENT / "live_bytes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class TestLiveBytes:
    def test_storages_count_once_and_until_their_last_tensor_dies(self, live: ModuleType) -> None:
        weight = torch.zeros(10, 10)
        with live.LiveBytes() as memory:
            values = torch.zeros(100)
            part = values[:50]  # a view
            del values
            assert memory.current == 400
            doubled = part * 2
            assert memory.current == 600
            del part, doubled
            assert memory.current == 0
            square = weight.t() @ weight  # what was there before does not count
            assert (memory.current, memory.peak) == (400, 600)
            memory.restart_peak()
            square.add_(1.0)  # in place
            assert (memory.current, memory.peak) == (400, 400)

    def test_attention_on_the_meta_device_holds_no_scores(self, live: ModuleType) -> None:
        def peak(mask: torch.Tensor | None) -> int:
            query = torch.empty(1, 2, 64, 8, device="meta", dtype=torch.float16)
            with live.FusedAttention(), live.LiveBytes() as memory:
                output = torch.nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
            assert output.shape == query.shape
            return int(memory.peak)

        scores = 2 * 64 * 64 * 2
        assert 2 * 64 * 8 * 2 <= peak(None) < scores
        assert peak(torch.zeros(1, 2, 1, 64, device="meta", dtype=torch.float16)) < scores


def workload(case: Any, rows: int) -> Workload:
    """The tiny pipelines at 16 x 16 pixels: 8 x 8 latents, which make 16 tokens; 12 text tokens."""
    return Workload(
        family=case.shape.family,
        transformer=dict(case.pipe.transformer.config),
        height=16,
        width=16,
        latent_height=8,
        latent_width=8,
        image_tokens=16,
        text_tokens=12,
        rows=rows,
    )


@dataclass(frozen=True)
class Measured:
    """Latents of a call, bytes held after each step, and the most of its denoising loop; bytes above its start."""

    latents: np.ndarray
    after_steps: np.ndarray
    peak: int


def measured(
    case: Any, live: ModuleType, schedule: Schedule | None = None, fast_path: bool = True, **arguments: Any
) -> Measured:
    held: list[int] = []
    starts: list[int] = []

    def start(*_: Any) -> None:
        if not starts:
            memory.restart_peak()
            starts.append(memory.current)

    hook = case.pipe.transformer.register_forward_pre_hook(start)
    applied = nullcontext() if schedule is None else ecad.applied(case.pipe, schedule, fast_path=fast_path)
    try:
        with applied, live.LiveBytes() as memory:
            latents = case.run_noting(
                lambda _: held.append(memory.current), output_type="latent", **arguments
            )
    finally:
        hook.remove()
    return Measured(latents, np.array(held) - starts[0], memory.peak - starts[0])


CALLS: dict[str, tuple[str, dict[str, Any], int]] = {  # family, arguments, rows that are stored
    "pixart": ("pixart", {}, 2),
    "pixart, two images": ("pixart", {"prompt": ["a red circle", "a blue square"]}, 4),
    "flux": ("flux", {}, 1),
    "flux, two images": ("flux", {"prompt": ["a red circle", "a blue square"]}, 2),
    "flux, true guidance": ("flux", {"true_cfg_scale": 3.0, "negative_prompt": "a blue square"}, 2),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("seed", "fast_path"), [(1, True), (2, False)])
def test_freeing_lowers_the_allocated_memory_by_the_predicted_bytes(
    request: pytest.FixtureRequest, live: ModuleType, call: str, seed: int, fast_path: bool
) -> None:
    family, arguments, rows = CALLS[call]
    case = request.getfixturevalue(family)
    schedule, load = case.random_schedule(seed, 0.4), workload(case, rows)
    predicted = stored_bytes(schedule, load, 4)
    # A plain cache holds one output of every component from step 0 on.
    outputs = {part: 4 * values for part, values in component_output_values(load).items()}
    everything = sum(case.shape.blocks[block_list] * size for (block_list, _), size in outputs.items())
    # The stand-in for an unread output: one number for attn and one for proj_mlp of 3 blocks, in each pass.
    blanks = (2 if "true_cfg_scale" in arguments else 1) * 2 * 3 * 4
    blanks = 0 if fast_path or family == "pixart" else blanks
    if fast_path and family == "pixart":  # the tables of all blocks, in one tensor until the call ends
        tables = np.array([case.shape.blocks["transformer_blocks"] * 6 * 16 * 4] * (case.steps - 1) + [0])
    else:
        tables = np.zeros(case.steps, dtype=np.int64)

    uncached = measured(case, live, **arguments)
    freed = measured(case, live, schedule, fast_path, **arguments)
    with live.keep_everything():
        kept = measured(case, live, schedule, fast_path, **arguments)
    assert np.array_equal(freed.latents, kept.latents)
    assert not np.array_equal(freed.latents, uncached.latents)
    assert (freed.after_steps - uncached.after_steps).tolist() == (predicted + blanks + tables).tolist()
    assert set((kept.after_steps - uncached.after_steps - tables).tolist()) == {everything + blanks}
    # Within a step some outputs are already stored and others not yet freed; never more than one is so too much.
    assert freed.peak < kept.peak
    assert kept.peak - freed.peak >= everything - predicted.max() - max(outputs.values())


def test_leaving_out_dead_compute_lowers_the_counted_macs(flux: Any, live: ModuleType) -> None:
    arrays = {name: array.copy() for name, array in flux.heuristic("all").recompute.items()}
    for component, steps in enumerate(([0, 2, 3, 5], [0, 1], [0, 4])):  # attn, proj_mlp, proj_out
        arrays[SINGLE][:, :, component] = False
        arrays[SINGLE][steps, :, component] = True
    schedule = flux.heuristic("all").replace(recompute=arrays)
    load = workload(flux, rows=1)

    def counted() -> int:
        # As plain products, which the counter knows: it has no entry for the CPU's fused attention.
        counter = FlopCounterMode(display=False)
        # Without the fast path, which also leaves out rows of the modulation that nobody needs.
        applied = ecad.applied(flux.pipe, schedule, fast_path=False)
        with sdpa_kernel(SDPBackend.MATH), applied, counter:
            flux.run(output_type="latent")
        return counter.get_total_flops() // 2

    freed = counted()
    with live.keep_everything():
        kept = counted()
    # Attention at step 2 is overwritten at 3 before proj_out runs at 4, that at 5 comes after it.
    assert kept - freed == dead_macs(schedule, load) == 2 * 3 * component_macs(load)[SINGLE, "attn"]
