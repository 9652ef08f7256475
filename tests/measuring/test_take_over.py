"""Wan 2.2: where the second transformer takes over it computes everything, and the costs say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import ecad
from ecad.cli.main import app
from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.families.take_over import take_over_of
from ecad.families.workload import workload_for
from ecad.measuring.latency_table import LatencyTable
from ecad.measuring.macs import executed, schedule_macs, stored_bytes, uncached_macs
from ecad.prompts import PromptSet
from ecad.sampling.base import jobs_for
from ecad.sampling.counting import flop_counter
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.sampling.take_over import take_over_in, take_over_step
from ecad.schedule import Schedule, ScheduleShape, heuristic, save_schedule
from ecad.searching.evaluator import ModelEvaluator

STEPS = 6
WAN = import_module("tiny_pipelines.wan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-wan-2.2"
    WAN.build(two_transformers=True, num_layers=4).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def subject(folder: Path) -> Subject:
    return prepare_subject(ModelChoice(str(folder), "cpu"), Overrides(steps=STEPS, **WAN.SIZE))


def schedule_of(subject: Subject, name: str) -> Schedule:
    """A heuristic, or random digits of everything."""
    if name != "random":
        return heuristic(name, subject.shape)
    rng = np.random.default_rng(1)
    [blocks] = subject.shape.array_shapes()
    digits = rng.random(subject.shape.array_shapes()[blocks]) < 0.4
    return Schedule("wan", {blocks: digits}, recompute_output=rng.random(STEPS) < 0.6)


class Watched:
    """What a call of the pipeline does: MACs of both transformers, and which runs when."""

    def __init__(self, pipe: Any) -> None:
        self.macs, self.ran = 0.0, list[str]()
        self._pipe = pipe

    def __enter__(self) -> Watched:
        self._hooks = [hook for name in ("transformer", "transformer_2") for hook in self._watch(name)]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _watch(self, name: str) -> Iterator[Any]:
        module = getattr(self._pipe, name)
        counters: list[Any] = []

        def before(*_: Any) -> None:
            counters.append(flop_counter())
            counters[-1].__enter__()
            self.ran.append(name)

        def after(*_: Any) -> None:
            counter = counters.pop()
            counter.__exit__(None, None, None)
            self.macs += counter.get_total_flops() / 2

        yield module.register_forward_pre_hook(before)
        yield module.register_forward_hook(after)


@pytest.mark.parametrize("name", ["mask:0", "fora:2", "output:0", "output:0,4", "attn:2", "random"])
def test_macs_and_bytes_are_exactly_what_runs_and_is_kept(subject: Subject, name: str) -> None:
    schedule, pipe = schedule_of(subject, name), subject.model.pipe
    conditioning = subject.sampler.encode(["a red bicycle"], 1)
    step = take_over_step(subject.workload.take_over, STEPS)  # type: ignore[arg-type]
    with ecad.applied(pipe, schedule, summed_runs=False) as handle, Watched(pipe) as watched:
        held: list[int] = []

        def note(*_: Any) -> None:
            parts = [part._state for part in handle._parts]  # type: ignore[attr-defined]
            lanes = [lane for part in parts for lane in part._lanes.values()]
            tensors = [value for lane in lanes for value in (*lane.store.values(), lane.output)]
            held.append(sum(each.numel() * 4 for each in map(first_of, tensors) if each is not None))

        hooks = [each.register_forward_hook(note) for each in (pipe.transformer, pipe.transformer_2)]
        subject.sampler.sample(conditioning, jobs_for(1, 1, 0))
        for hook in hooks:
            hook.remove()
    # Two passes a step.
    assert watched.ran == ["transformer"] * 2 * step + ["transformer_2"] * 2 * (STEPS - step)
    assert watched.macs == schedule_macs(schedule, subject.workload)
    assert held[1::2] == stored_bytes(schedule, subject.workload, 4).tolist()
    without = replace(subject.workload, take_over=None)
    is_told = executed(schedule, subject.workload) != executed(schedule, without)
    assert is_told == (schedule_macs(schedule, without) < watched.macs)


def first_of(output: Any) -> torch.Tensor | None:
    return output[0] if isinstance(output, tuple) else output


def test_the_step_is_that_of_the_pipelines_own_timesteps(subject: Subject, folder: Path) -> None:
    """With shift 3 the timesteps of 6 steps are 1000 * 3s / (1 + 2s), s = 1, 5/6, ...: those from 800 on come first."""
    found = take_over_in(subject.model.pipe)
    assert found is not None
    assert take_over_step(found, STEPS) == sum(3 * s / (1 + 2 * s) >= 0.8 for s in (1, 5 / 6, 4 / 6, 3 / 6))
    assert take_over_of(find_model(str(folder))) is not None
    for steps in (2, 3, 8, 50):
        from_files = take_over_step(take_over_of(find_model(str(folder))), steps)  # type: ignore[arg-type]
        assert from_files == take_over_step(found, steps)
    assert take_over_step(replace(found, boundary_ratio=2.0), STEPS) is None  # the second one does all
    assert take_over_step(replace(found, boundary_ratio=0.0), STEPS) is None
    assert take_over_of(find_model("wan2.1-1.3b")) is None
    assert take_over_of(find_model("pixart-mini")) is None


def test_the_preset_at_full_size() -> None:
    """40 steps, shift 3, 0.875: those with s >= 0.7, s = 1, 39/40, ..."""
    load = workload_for(find_model("wan2.2-a14b"))
    assert load.take_over is not None
    assert take_over_step(load.take_over, 40) == 13
    only_first = heuristic("output:0", ScheduleShape("wan", 40, {"blocks": 40}))
    assert schedule_macs(only_first, load) == 2 * uncached_macs(1, load)


def test_costs_of_a_search_and_on_the_command_line(subject: Subject, folder: Path, tmp_path: Path) -> None:
    class NoScorer:
        name, higher_is_better, needs_reference = "none", True, False

    only_first = heuristic("output:0", subject.shape)
    table = LatencyTable(
        0.0,
        {**{("blocks", part): 1.0 for part in ("attn1", "attn2", "ffn")}, ("transformer", "output"): 3.0},
        0.0,
        0.0,
    )
    for latency_table, cost in ((None, "macs"), (table, "latency")):
        evaluator = ModelEvaluator(
            subject.sampler,
            NoScorer(),  # type: ignore[arg-type]
            PromptSet("one", ("a",), "0"),
            subject.workload,
            seeds_per_prompt=1,
            first_seed=0,
            batch_size=1,
            latency_table=latency_table,
            cost=cost,
        )
        assert evaluator.cost_of(only_first) == pytest.approx(2 / STEPS)
    save_schedule(only_first, tmp_path / "first.yaml")
    arguments = ["schedule", "check", str(tmp_path / "first.yaml"), "--model", str(folder), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout)["speedup_macs"] == pytest.approx(STEPS / 2)


def test_the_second_guidance_scale(subject: Subject, folder: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    assert subject.settings.guidance_scale_2 is None  # the preset it is most like has none

    def images(scale: float | None) -> np.ndarray:
        found = prepare_subject(
            ModelChoice(str(folder), "cpu"), Overrides(steps=STEPS, **WAN.SIZE, guidance_scale_2=scale)
        )
        seen.append(found.settings.guidance_scale_2)
        return found.sampler.sample(found.sampler.encode(["a red bicycle"], 1), jobs_for(1, 1, 0))

    same, other = images(subject.settings.guidance_scale), images(1.5)
    assert np.array_equal(images(None), same)
    assert not np.array_equal(same, other)
    assert seen == [subject.settings.guidance_scale, 1.5, None]
    WAN.build().save_pretrained(tmp_path / "tiny-wan-2.1")
    with pytest.raises(ConfigError, match=r"tiny-wan-2.1 has none that takes over: leave it out"):
        prepare_subject(ModelChoice(str(tmp_path / "tiny-wan-2.1"), "cpu"), Overrides(guidance_scale_2=2.0))
