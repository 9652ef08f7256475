"""Stored outputs in half the memory, or in the host's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import ecad
from ecad.caching.stores import HalfStore, HostStore, new_store
from ecad.schedule import ScheduleShape, heuristic

KEY = ("transformer_blocks", 0, 0)


def outputs(case: Any, **options: Any) -> torch.Tensor:
    results = []
    with torch.no_grad(), ecad.applied(case.pipe.transformer, case.random_schedule(3, 0.4), **options):
        for step in range(case.steps):
            results.append(case.pipe.transformer(**case.transformer_inputs(step), return_dict=False)[0])
    return torch.stack(results)


@pytest.mark.parametrize("fast_path", [True, False])
def test_in_the_hosts_memory_nothing_changes(case: Any, fast_path: bool) -> None:
    assert torch.equal(outputs(case, store="cpu", fast_path=fast_path), outputs(case))


@pytest.mark.parametrize("fast_path", [True, False])
def test_in_bfloat16_little_changes(case: Any, fast_path: bool) -> None:
    exact, rounded = outputs(case), outputs(case, store="bfloat16", fast_path=fast_path)
    assert torch.equal(exact[0], rounded[0])  # what is computed in this very step is used as it is
    error = float((rounded - exact).norm() / exact.norm())
    assert 0 < error < 2**-8


def test_a_whole_call(case: Any) -> None:
    schedule = case.mixed_schedule(1)
    with ecad.applied(case.pipe, schedule):
        expected = case.run()
    with ecad.applied(case.pipe, schedule, store="cpu") as handle:
        assert np.array_equal(case.run(), expected)
        assert handle.stored_outputs == 0


def test_half_the_memory() -> None:
    store, output = HalfStore(), torch.randn(3, 8)
    store[KEY] = (output, torch.arange(3), None)
    held = dict.__getitem__(store, KEY)[0].tensor
    assert held.element_size() * 2 == output.element_size()
    back, numbers, nothing = store.pop(KEY)
    assert back.dtype == torch.float32
    assert torch.equal(back, output.bfloat16().float())
    assert torch.equal(numbers, torch.arange(3))
    assert nothing is None
    assert KEY not in store
    assert store.get(KEY) is None
    assert store.pop(KEY, None) is None
    store[KEY] = output.half()
    assert store[KEY].dtype == torch.float16


def test_unknown_stores_are_refused(case: Any) -> None:
    with pytest.raises(ecad.ScheduleError, match="store must be one of bfloat16, cpu"):
        ecad.apply(case.pipe, case.heuristic("fora:2"), store="disk")
    assert isinstance(new_store("cpu"), HostStore)
    assert type(new_store(None)) is dict


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_outputs_leave_it_and_come_back(pixart: Any) -> None:
    transformer = copy.deepcopy(pixart.pipe.transformer).cuda()
    schedule = heuristic("fora:3", ScheduleShape("pixart", 6, {"transformer_blocks": 3}))
    given = [
        {
            name: value.cuda() if isinstance(value, torch.Tensor) else value
            for name, value in pixart.transformer_inputs(step).items()
        }
        for step in range(6)
    ]
    found = {}
    for store in (None, "cpu"):
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad(), ecad.applied(transformer, schedule, store=store, summed_runs=False):
            found[store] = [transformer(**each, return_dict=False)[0] for each in given]
    for here, there in zip(found[None], found["cpu"], strict=True):
        assert torch.equal(here, there)
