"""Candidates evaluated with summed runs, each for itself, are as `ecad.apply(..., summed_runs=True)` has them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_models

import ecad
from ecad.errors import ConfigError, TransientEvaluationError
from ecad.prompts import PromptSet
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import Schedule, heuristic
from ecad.searching.evaluator import ModelEvaluator

PROMPTS = PromptSet("two", ("a red bicycle", "a harbour at night"), "")
STEPS = 5


class Kept:
    """A metric that keeps the images that it is shown."""

    name = "kept"
    higher_is_better = True
    needs_reference = False

    def __init__(self) -> None:
        self.images: list[Any] = []

    def __call__(self, prompts: Sequence[str], images: Any, references: Any = None) -> Any:
        self.images.append(images)
        return np.zeros(len(prompts))


def pixart() -> tuple[Any, Overrides]:
    with mock.patch.object(tiny_models, "TINY_BLOCKS", 3):  # of which three sums are less
        pipe = tiny_models.tiny_pixart()
    return pipe, Overrides(steps=STEPS, height=64, width=64)


def wan() -> tuple[Any, Overrides]:
    pipe = import_module("tiny_pipelines.wan").build(two_transformers=True, num_layers=3)
    return pipe, Overrides(steps=STEPS, height=16, width=32, num_frames=5)


@pytest.fixture(scope="module", params=[pixart, wan])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    pipe, overrides = request.param()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipe.save_pretrained(folder)
    return prepare_subject(ModelChoice(str(folder), "cpu"), overrides)


def evaluator_of(subject: Subject, scorer: Any, **options: Any) -> ModelEvaluator:
    return ModelEvaluator(
        subject.sampler,
        scorer,
        PROMPTS,
        subject.workload,
        seeds_per_prompt=1,
        first_seed=0,
        batch_size=2,
        **options,
    )


def test_the_images_are_those_of_apply(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of candidates that begin alike: nothing is shared, and no more is stored than the schedule reads."""
    schedules = [heuristic(name, subject.shape) for name in ("fora:2", "fora:3", "attn:2")]
    stored: list[int] = []

    def spied(pipe: Any, schedule: Schedule, **options: Any) -> Any:
        assert options == {"summed_runs": True}
        return ecad.applied(pipe, schedule, **options)

    monkeypatch.setattr("ecad.searching.evaluator.applied", spied)
    kept = Kept()
    evaluator_of(subject, kept, summed_runs=True).score_batch(schedules, 0)
    sampler, jobs = subject.sampler, jobs_for(len(PROMPTS), 1, 0)
    conditioning = sampler.encode(PROMPTS.prompts, 2)
    for schedule, images in zip(schedules, kept.images, strict=True):
        with ecad.applied(sampler.pipe, schedule, summed_runs=True) as handle:
            hook = sampler.pipe.transformer.register_forward_hook(
                lambda *_, handle=handle: stored.append(handle.stored_outputs)
            )
            assert np.array_equal(sampler.sample(conditioning, jobs), images)
            hook.remove()
    # Three sums for each pass instead of nine outputs; single components are kept as ever.
    assert 3 in stored


def test_what_cannot_fit_fails_before_it_runs(subject: Subject) -> None:
    schedule, kept = heuristic("fora:2", subject.shape), Kept()
    evaluator = evaluator_of(subject, kept, summed_runs=True, free_bytes=1000)
    with pytest.raises(TransientEvaluationError, match=r"stored outputs of 2 images take .* GB are free"):
        evaluator.score_batch([schedule], 0)
    assert kept.images == []


def test_only_where_blocks_sum_up(tmp_path: Path) -> None:
    from ecad.searching.run import search
    from ecad.searching.settings import SearchSettings

    folder = tiny_models.save_tiny_model("flux-dev", tmp_path / "tiny-flux")
    settings = SearchSettings(
        model=str(folder),
        generations=1,
        population=4,
        prompts="scenes-search",
        prompts_limit=1,
        heldout_prompts="scenes-heldout",
        heldout_limit=1,
        steps=4,
        height=64,
        width=64,
        quality="psnr",
        device="cpu",
        summed_runs=True,
    )
    with pytest.raises(ConfigError, match="family 'flux' cannot be summed up .* leave out --summed-runs"):
        search(settings, tmp_path / "run")
