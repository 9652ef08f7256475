"""Each process of a search has its share of the memory that is free."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecad.execution import ExecutionSettings
from ecad.searching.memory import free_for_each_process, weights_bytes

LAYER = torch.nn.Linear(9, 10)  # 100 numbers of 4 bytes


def model_on(device: str) -> Any:
    pipe = SimpleNamespace(components={"transformer": LAYER, "scheduler": object(), "transformer_2": LAYER})
    return SimpleNamespace(pipe=pipe, device=torch.device(device))


@pytest.mark.parametrize(
    ("execution", "expected"),
    [
        (ExecutionSettings(), 8400),  # the model is loaded already
        (ExecutionSettings(workers=1), 8000),  # the worker loads it once more
        (ExecutionSettings(workers=4), 1700),
        (ExecutionSettings(workers=100), 0),
        (ExecutionSettings(ray_address="auto", workers=8), 8000),
    ],
)
def test_on_a_cpu(monkeypatch: pytest.MonkeyPatch, execution: ExecutionSettings, expected: int) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=8400))
    assert weights_bytes(model_on("cpu")) == 400
    assert free_for_each_process(model_on("cpu"), execution) == expected


@pytest.mark.parametrize(
    ("execution", "expected"),
    [
        (ExecutionSettings(), 8400),
        (ExecutionSettings(workers=4), 8400),  # a GPU each, from which this process takes its own model away
        (ExecutionSettings(workers=4, gpus_per_worker=0.25), 1800),
        (ExecutionSettings(workers=2, gpus_per_worker=2.0), 8400),
    ],
)
def test_on_gpus(monkeypatch: pytest.MonkeyPatch, execution: ExecutionSettings, expected: int) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (8300, 10_000))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: 500)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda device: 400)
    assert free_for_each_process(model_on("cuda"), execution) == expected


def test_where_nobody_says() -> None:
    assert free_for_each_process(model_on("mps"), ExecutionSettings()) is None
