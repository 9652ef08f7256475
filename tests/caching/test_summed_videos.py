"""Stretches of reused blocks of Wan and LTX-Video as sums, as tests/caching/test_summed_runs.py has them of PixArt."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from conformance.tiny import Subject

import ecad
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.liveness import stretches_after_step

STEPS, BLOCKS = 10, 8
_CONFIGURATIONS = ("wan", "ltx")


@pytest.fixture(scope="module", params=_CONFIGURATIONS)
def subject(request: pytest.FixtureRequest) -> Subject:
    tiny = import_module(f"conformance.models.{request.param}").MODELS[0]
    return Subject(replace(tiny, config={**tiny.config, "num_layers": BLOCKS}))


def outputs(subject: Subject, schedule: Schedule, **options: Any) -> tuple[torch.Tensor, list[int]]:
    """Of all steps, and the number of tensors that are stored after each."""
    found, stored = [], []
    with ecad.applied(subject.transformer, schedule, **options) as handle:
        for step in range(STEPS):
            found.append(subject.forward(step)[0].float())
            stored.append(handle.stored_outputs)
    return torch.stack(found), stored


def schedule_of(subject: Subject, name: str) -> Schedule:
    """A heuristic, or "sparse": little is recomputed, at random."""
    shape = ScheduleShape(subject.family.name, STEPS, subject.shape.blocks)
    if name != "sparse":
        return heuristic(name, shape)
    arrays = shape.filled(False)
    [name] = arrays
    arrays[name][1:] = np.random.default_rng(3).random((STEPS - 1, BLOCKS, 3)) < 0.03
    return Schedule(subject.family.name, arrays)


@pytest.mark.parametrize("name", ["mask:0", "mask:0,5", "sparse"])
def test_within_rounding_in_three_tensors(subject: Subject, name: str) -> None:
    schedule = schedule_of(subject, name)
    exact, kept = outputs(subject, schedule, summed_runs=False)
    summed, stored = outputs(subject, schedule, summed_runs=None if name == "sparse" else True)
    assert float((summed - exact).abs().max()) < 3e-6 * float(exact.abs().max())
    assert stretches_after_step(schedule).any()
    assert not torch.equal(summed, exact)  # it is another order of additions
    if name != "sparse":
        assert max(stored) == 3 < max(kept) == 3 * BLOCKS
        # By default too, and never without the fast path.
        assert outputs(subject, schedule)[1] == stored
    assert torch.equal(outputs(subject, schedule, fast_path=False)[0], exact)


def test_a_timestep_for_each_token(subject: Subject) -> None:
    """As Wan 2.2 TI2V and LTX's image-to-video give them."""
    transformer, tokens = subject.transformer, 8
    inputs = subject.tiny.inputs

    def run(**options: Any) -> torch.Tensor:
        found = []
        with torch.no_grad(), ecad.applied(transformer, schedule_of(subject, "mask:0,5"), **options):
            for step in range(STEPS):
                given = inputs(2, 1, step)
                spread = torch.linspace(0.5, 1.0, tokens)
                given["timestep"] = given["timestep"][:, None] * spread
                found.append(transformer(**given, return_dict=False)[0])
        return torch.stack(found)

    exact = run(fast_path=False)
    assert torch.equal(run(summed_runs=False), exact)
    assert float((run(summed_runs=True) - exact).abs().max()) < 3e-6 * float(exact.abs().max())
