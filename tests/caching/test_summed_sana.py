"""Sana: stretches of reused blocks in three sums, of which the feed-forward's come from images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance.models.sana import _CONFIG, _inputs
from diffusers import SanaTransformer2DModel

import ecad
from ecad.schedule import ScheduleShape, heuristic
from ecad.schedule.liveness import stored_after_step, stretches_after_step

STEPS, BLOCKS = 8, 8


@pytest.fixture(scope="module")
def transformer() -> Any:
    torch.manual_seed(0)
    return SanaTransformer2DModel(**{**_CONFIG, "num_layers": BLOCKS}).eval().requires_grad_(False)


def run(transformer: Any, name: str, **options: Any) -> tuple[torch.Tensor, list[int]]:
    """The outputs of all steps, and how many tensors are stored after each."""
    schedule = heuristic(name, ScheduleShape("sana", STEPS, {"transformer_blocks": BLOCKS}))
    found, stored = [], []
    with ecad.applied(transformer, schedule, **options) as handle, torch.no_grad():
        for step in range(STEPS):
            found.append(transformer(**_inputs(2, 1, step), return_dict=False)[0])
            stored.append(handle.stored_outputs)
    return torch.stack(found), stored


@pytest.mark.parametrize("name", ["mask:0", "mask:0,2", "fora:2", "random:0.2:3"])
def test_within_rounding_and_as_much_stored_as_predicted(transformer: Any, name: str) -> None:
    one_by_one, plain = run(transformer, name, summed_runs=False)
    summed, stored = run(transformer, name)
    assert torch.allclose(summed, one_by_one, rtol=0, atol=1e-5 * float(one_by_one.abs().max()))
    schedule = heuristic(name, ScheduleShape("sana", STEPS, {"transformer_blocks": BLOCKS}))
    held = sum(stored_after_step(schedule, 0, True).values()) + 3 * stretches_after_step(schedule, 0)
    assert stored == held.tolist()
    if name == "mask:0":
        assert (max(plain), max(stored)) == (3 * BLOCKS, 3)


def test_a_controls_samples_go_in_between(transformer: Any) -> None:
    """A ControlNet adds to the hidden states after its blocks, also in the middle of a stretch."""
    samples = [torch.full((2, 16, 16), 0.1 * (number + 1)) for number in range(3)]

    class Controlled:
        def __call__(self, **arguments: Any) -> Any:
            return transformer(**arguments, controlnet_block_samples=samples)

    schedule = heuristic("mask:0", ScheduleShape("sana", STEPS, {"transformer_blocks": BLOCKS}))
    found = []
    for options in ({"fast_path": False}, {}):
        with ecad.applied(transformer, schedule, **options), torch.no_grad():
            found.append(
                torch.stack(
                    [Controlled()(**_inputs(2, 1, step), return_dict=False)[0] for step in range(STEPS)]
                )
            )
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-5 * float(found[0].abs().max()))
