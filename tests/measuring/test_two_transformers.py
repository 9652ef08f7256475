"""Wan 2.2: where the second transformer takes over everything is computed anew, and counts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecad
from ecad.measuring.macs import schedule_macs, stored_bytes, uncached_macs
from ecad.sampling.base import Job
from ecad.sampling.counting import counted_macs
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.sampling.take_over import take_over_step
from ecad.schedule import Schedule, heuristic

STEPS = 6


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny-wan"
    import_module("tiny_pipelines.wan").build(two_transformers=True).save_pretrained(folder)
    overrides = Overrides(steps=STEPS, height=16, width=32, num_frames=5)
    return prepare_subject(ModelChoice(str(folder), "cpu"), overrides)


def schedules(subject: Subject) -> list[Schedule]:
    shape = subject.shape
    random = {
        name: np.random.default_rng(1).random(array.shape) < 0.4
        for name, array in heuristic("all", shape).recompute.items()
    }
    return [
        *(heuristic(name, shape) for name in ("all", "fora:2", "mask:0", "output:0", "output:0,4")),
        Schedule(shape.family, random),
    ]


def test_the_step_is_that_of_the_pipeline(subject: Subject) -> None:
    ran: list[str] = []
    pipe: Any = subject.sampler.pipe
    hooks = [
        getattr(pipe, name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in ("transformer", "transformer_2")
    ]
    subject.sampler.sample(subject.sampler.encode(["a"], 1), [Job(0, 0)])
    for hook in hooks:
        hook.remove()
    passes = len(ran) // STEPS
    step = ran.index("transformer_2") // passes
    assert 0 < step < STEPS
    assert subject.workload.take_over is not None
    assert take_over_step(subject.workload.take_over, STEPS) == step


def test_costs_are_those_that_torch_counts(subject: Subject) -> None:
    sampler = subject.sampler
    conditioning = sampler.encode(["a red bicycle"], 1)
    for schedule in schedules(subject):
        with ecad.applied(sampler.pipe, schedule, summed_runs=False), counted_macs(sampler.pipe) as counted:
            sampler.sample(conditioning, [Job(0, 0)])
        assert schedule_macs(schedule, subject.workload) == sum(counted)
    assert schedule_macs(schedules(subject)[0], subject.workload) == uncached_macs(STEPS, subject.workload)


def test_the_first_ones_outputs_are_dropped(subject: Subject) -> None:
    """All-reuse: the second transformer stores its own outputs at its first step, where those of the first go."""
    workload = subject.workload
    assert workload.take_over is not None
    step = take_over_step(workload.take_over, STEPS)
    assert step is not None
    held = stored_bytes(heuristic("mask:0", subject.shape), workload, 4)
    assert (held[:-1] == held[0]).all()
    assert held[-1] == 0
    # Computed in the last step before, and read by nobody after.
    late = heuristic(f"mask:0,{step}", subject.shape)
    assert stored_bytes(late, workload, 4).tolist() == [*held.tolist()[: step - 1], 0, *held.tolist()[step:]]
