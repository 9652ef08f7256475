"""The evaluator's units of work: batches in pieces, references by batch, scores that are no numbers, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecad.arrays import Images
from ecad.errors import BrokenWorkerError, ScoreError, TransientEvaluationError
from ecad.prompts import PromptSet
from ecad.records import Candidate
from ecad.sampling.base import Job
from ecad.schedule import Schedule, ScheduleShape
from ecad.searching.evaluator import ModelEvaluator

SHAPE = ScheduleShape("pixart", 4, {"transformer_blocks": 3})
ALL = Schedule.all_recompute(SHAPE)
HALF = ALL.with_step(1, False).with_step(2, False)  # 2 of 4 steps recompute
PROMPTS = PromptSet("five", ("a", "b", "c", "d", "e"), "0")


class FakeSampler:
    """An image's gray value is ten times its seed; with a schedule on the model, one more for odd seeds."""

    def __init__(self) -> None:
        self.pipe = SimpleNamespace(schedule=None)
        self.calls: list[tuple[bool, list[int]]] = []
        self.before: Callable[[Sequence[Job]], None] = lambda jobs: None

    def encode(self, prompts: Sequence[str], batch_size: int) -> None:
        return None

    def sample(self, conditioning: None, jobs: Sequence[Job]) -> Images:
        self.before(jobs)
        is_cached = self.pipe.schedule is not None
        self.calls.append((is_cached, [job.seed for job in jobs]))
        values = [10 * job.seed + (is_cached and job.seed % 2) for job in jobs]
        return np.stack([np.full((2, 2, 3), value, dtype=np.uint8) for value in values])


class Difference:
    """Minus the mean difference from the reference; NaN for the images of some prompts."""

    name, higher_is_better, needs_reference = "difference", True, True
    broken: tuple[str, ...] = ()

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Any:
        assert references is not None
        assert len(prompts) == len(images) == len(references)
        scores = -np.abs(images.astype(float) - references).mean(axis=(1, 2, 3))
        return np.where([prompt in self.broken for prompt in prompts], np.nan, scores)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        pass


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> FakeSampler:
    @contextmanager
    def applied(pipe: Any, schedule: Schedule, **options: Any) -> Iterator[None]:
        pipe.schedule = schedule
        yield
        pipe.schedule = None

    monkeypatch.setattr("ecad.searching.evaluator.applied", applied)
    monkeypatch.setattr(
        "ecad.searching.evaluator.schedule_macs",
        lambda schedule, workload: int(1000 * schedule.recompute_fraction()),
    )
    monkeypatch.setattr("ecad.searching.evaluator.uncached_macs", lambda steps, workload: 1000)
    return FakeSampler()


def evaluator_with(sampler: FakeSampler, scorer: Any = None) -> ModelEvaluator:
    """Five images with the seeds 10 to 14, in batches of 4 and 1."""
    return ModelEvaluator(
        sampler,  # type: ignore[arg-type]
        scorer or Difference(),
        PROMPTS,
        None,  # type: ignore[arg-type]
        seeds_per_prompt=1,
        first_seed=10,
        batch_size=4,
    )


def candidate(schedule: Schedule) -> Candidate:
    return Candidate("key", schedule, "", 1, 0)


def test_pieces_take_their_own_references_which_are_made_once_and_whole(sampler: FakeSampler) -> None:
    evaluator = evaluator_with(sampler)
    assert (evaluator.batches, evaluator.batch_size, evaluator.images_per_evaluation) == (2, 4, 5)
    expected = (0.0, -1.0, 0.0, -1.0)
    assert evaluator.score_batch([HALF], 0, 2)[0] == expected
    assert sampler.calls == [(False, [10, 11, 12, 13]), (True, [10, 11]), (True, [12, 13])]
    sampler.calls.clear()
    for pieces in (1, 3, 4):
        assert evaluator.score_batch([HALF], 0, pieces)[0] == expected
    assert all(is_cached for is_cached, _ in sampler.calls)
    assert [len(seeds) for _, seeds in sampler.calls] == [4, 2, 2, 1, 1, 1, 1]
    sampler.calls.clear()
    assert evaluator.score_batch([HALF], 1)[0] == (0.0,)
    assert sampler.calls == [(False, [14]), (True, [14])]


def test_the_evaluation_joins_the_batches(sampler: FakeSampler) -> None:
    evaluator = evaluator_with(sampler)
    scores = [evaluator.score_batch([HALF], batch)[0] for batch in range(2)]
    evaluation = evaluator.combine(candidate(HALF), scores)
    assert evaluation.scores == (0.0, -1.0, 0.0, -1.0, 0.0)
    assert (evaluation.quality, evaluation.cost, evaluation.macs) == (-0.4, 0.5, 500)
    assert evaluator.scores(HALF).tolist() == list(evaluation.scores)
    assert evaluator.scores(None).tolist() == [0.0] * 5


def test_a_score_that_is_no_number_fails_the_schedule_but_for_the_model_itself(sampler: FakeSampler) -> None:
    scorer = Difference()
    scorer.broken = ("d",)
    evaluator = evaluator_with(sampler, scorer)
    scores = [evaluator.score_batch([HALF], batch)[0] for batch in range(2)]
    evaluation = evaluator.combine(candidate(HALF), scores)
    assert np.isnan(evaluation.quality)
    assert np.isnan(evaluation.scores[3])
    assert evaluation.cost == 0.5
    with pytest.raises(ScoreError, match="difference gave nan for the uncached image of the prompt 'd'"):
        evaluator.combine(candidate(ALL), scores)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError("no"), TransientEvaluationError, "out of memory with batches of 2 images"),
        (MemoryError(), TransientEvaluationError, "out of memory with batches of 2 images"),
        (RuntimeError("CUDA error: assert\nmore"), BrokenWorkerError, "CUDA error: assert; start again"),
        (RuntimeError("shapes differ"), RuntimeError, "shapes differ"),
    ],
)
def test_errors_say_what_to_do(
    sampler: FakeSampler, error: Exception, expected: type[Exception], message: str
) -> None:
    def fail(jobs: Sequence[Job]) -> None:
        raise error

    sampler.before = fail
    with pytest.raises(expected, match=message):
        evaluator_with(sampler).score_batch([HALF], 0, 2)[0]
