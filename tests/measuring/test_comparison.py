"""Rows measured in turn on the same images: order, references, resuming; with toy models, whose pixels are known."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecad.caching import applied
from ecad.errors import ConfigError, TransientEvaluationError
from ecad.families import find_model
from ecad.families.models.pixart import PIXART
from ecad.measuring.comparison import Comparison, compare
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.prompts import prompt_set
from ecad.sampling.base import Job
from ecad.sampling.generation import Overrides, settings_for
from ecad.sampling.loading import LoadedModel
from ecad.sampling.samplers import make_sampler
from ecad.schedule import ScheduleShape, heuristic
from ecad.searching.evaluator import ModelEvaluator

PROMPTS = prompt_set("toy", ["a", "bb", "ccc"])


class ToySampler:
    """Every pixel of an image is 10 x steps + the job's seed, and with `levels` the last of these more."""

    def __init__(
        self,
        steps: int,
        calls: list[tuple[int, int]],
        levels: tuple[int, ...] | None = None,
        disturbances: list[float] | None = None,
    ) -> None:
        self.steps, self.calls, self.levels = steps, calls, levels
        self.disturbances = (
            [] if disturbances is None else disturbances
        )  # of the next timings, by what factor
        self.pipe = SimpleNamespace(components={})
        self.settings = None

    def with_steps(self, steps: int, levels: tuple[int, ...] | None = None) -> ToySampler:
        return ToySampler(steps, self.calls, levels, self.disturbances)

    def encode(self, prompts: Sequence[str], batch_size: int) -> Any:
        return list(prompts)

    def sample(self, conditioning: Any, jobs: Sequence[Job]) -> np.ndarray:
        self.calls.append((self.steps, jobs[0].seed))
        level = 0 if self.levels is None else self.levels[-1]
        pixels = np.array([10 * self.steps + level + job.seed for job in jobs], np.uint8)
        return np.broadcast_to(pixels[:, None, None, None], (len(jobs), 2, 2, 3)).copy()

    def sample_timed(self, conditioning: Any, jobs: Sequence[Job]) -> tuple[np.ndarray, float]:
        """A second a step and image, unless something disturbs it."""
        slower = self.disturbances.pop(0) if self.disturbances else 1.0
        steps = self.steps if self.levels is None else len(self.levels)
        return self.sample(conditioning, jobs), slower * steps * len(jobs)


class Brightness:
    name, higher_is_better, needs_reference = "brightness", True, False

    def __call__(self, prompts: Sequence[str], images: Any, references: Any = None) -> np.ndarray:
        return images.mean(axis=(1, 2, 3)) + 1000.0 * np.array([len(prompt) for prompt in prompts])

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        if height > 100:
            raise ConfigError(f"too large: {height}")


class Distance:
    name, higher_is_better, needs_reference = "distance", False, True

    def __call__(self, prompts: Sequence[str], images: Any, references: Any = None) -> np.ndarray:
        return np.abs(images.astype(float) - references).mean(axis=(1, 2, 3))


class Other:
    """Another pipeline: white images, one second each."""

    pipe, macs = SimpleNamespace(components={}), 77

    def sample(self, prompts: Sequence[str], jobs: Sequence[Job]) -> tuple[np.ndarray, float]:
        return np.full((len(jobs), 4, 4, 3), 255, np.uint8), float(len(jobs))


def comparison(calls: list[tuple[int, int]], **changes: Any) -> Comparison:
    contenders = [
        Contender("uncached", Kind.UNCACHED, 5),
        Contender("steps:3", Kind.FEWER_STEPS, 3),
        Contender("steps:2", Kind.FEWER_STEPS, 2),
        Contender("other", Kind.BASELINE, 1, pipeline=Other()),
    ]
    arguments = {"seeds_per_prompt": 2, "first_seed": 100, "batch_size": 4, **changes}
    return Comparison(contenders, ToySampler(5, calls), [Brightness(), Distance()], PROMPTS, **arguments)  # type: ignore[arg-type, list-item]


def test_rows_take_turns_and_share_their_images() -> None:
    calls: list[tuple[int, int]] = []
    toy = comparison(calls)
    results = list(toy.run())
    # One warm-up, then batch by batch (seeds 100-103, 104-105), another row first in each.
    assert calls[0] == (5, 100)
    assert calls[1:] == [(5, 100), (3, 100), (2, 100), (3, 104), (2, 104), (5, 104)]
    assert sorted(measurement.key for measurement, _, _ in results) == sorted(toy.all_keys())
    assert [job.seed for job in results[0][1]] == [100, 101, 102, 103]

    outcomes = {each.contender.name: each for each in toy.outcomes(result[0] for result in results)}
    # Prompts of 1, 2 and 3 letters, two seeds each; a pixel is 10 x steps + seed.
    assert outcomes["steps:3"].scores.tolist() == [1130, 1131, 2132, 2133, 3134, 3135]
    assert outcomes["steps:3"].scores_by["distance"].tolist() == [20.0] * 6
    assert outcomes["steps:2"].scores_by["distance"].tolist() == [30.0] * 6
    assert outcomes["uncached"].scores_by["distance"].tolist() == [0.0] * 6
    # Another model has no fidelity; its seconds are its own, its MACs too.
    assert set(outcomes["other"].scores_by) == {"brightness"}
    assert outcomes["other"].pipeline_macs == 77
    # The smaller last batch does not count for latency.
    assert outcomes["other"].seconds_per_image.tolist() == [1.0]
    assert {len(each.seconds_per_image) for each in outcomes.values()} == {1}
    assert len(outcomes["steps:2"].images_sha256) == 2
    assert outcomes["steps:2"].images_sha256 != outcomes["steps:3"].images_sha256


def test_a_row_at_chosen_noise_levels_takes_them_from_the_uncached_steps() -> None:
    contenders = [
        Contender("uncached", Kind.UNCACHED, 5),
        Contender("steps:2", Kind.FEWER_STEPS, 2),
        Contender("steps:0,3", Kind.FEWER_STEPS, 2, levels=(0, 3)),
        Contender("steps:0,4", Kind.FEWER_STEPS, 2, levels=(0, 4)),
    ]
    calls: list[tuple[int, int]] = []
    outcomes = compare(
        contenders,
        ToySampler(5, calls),  # type: ignore[arg-type]
        [Distance()],  # type: ignore[list-item]
        PROMPTS,
        seeds_per_prompt=1,
        first_seed=100,
        batch_size=3,
    )
    # One warm-up, then the four rows: five steps' levels, of which two are used. There is only one batch, so a second
    # timing of each says whether the first one was right.
    assert sorted(calls) == sorted([(5, 100), *[(5, 100), (2, 100), (5, 100), (5, 100)] * 2])
    assert [each.scores_by["distance"].tolist() for each in outcomes] == [
        [distance] * 3 for distance in (0.0, 30.0, 3.0, 4.0)
    ]


def test_disturbed_rows_are_timed_again() -> None:
    """Rows of 5, 3 and 2 seconds an image in two whole batches; the second of the uncached row and the first of three
    steps take four times as long."""
    contenders = [
        Contender("uncached", Kind.UNCACHED, 5),
        Contender("steps:3", Kind.FEWER_STEPS, 3),
        Contender("steps:2", Kind.FEWER_STEPS, 2),
    ]
    calls: list[tuple[int, int]] = []
    sampler = ToySampler(5, calls, disturbances=[1.0, 4.0, 1.0, 1.0, 1.0, 4.0])
    arguments: dict[str, Any] = {"seeds_per_prompt": 2, "first_seed": 100, "batch_size": 3}
    toy = Comparison(contenders, sampler, [Brightness()], PROMPTS, **arguments)  # type: ignore[arg-type, list-item]
    measurements = [measurement for measurement, _, _ in toy.run()]
    before = {each.contender.name: each.latency.samples_s for each in toy.outcomes(measurements)}
    assert before == {"uncached": (5.0, 20.0), "steps:3": (12.0, 3.0), "steps:2": (2.0, 2.0)}
    calls.clear()
    retimings = list(toy.time_again(measurements))
    assert retimings == [("uncached", 5.0), ("steps:3", 3.0)]
    assert calls == [(5, 100), (3, 100)]
    outcomes = toy.outcomes(measurements, retimings)
    assert [each.latency.median_s for each in outcomes] == [5.0, 3.0, 2.0]
    # A comparison that was stopped in between goes on; one that is done makes nothing more.
    again = Comparison(contenders, ToySampler(5, calls), [Brightness()], PROMPTS, **arguments)  # type: ignore[arg-type, list-item]
    assert list(again.time_again(measurements, retimings[:1])) == retimings[1:]
    assert list(again.time_again(measurements, retimings)) == []


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_no_row_is_timed_again_more_often_than_asked_for(rounds: int) -> None:
    """No two timings of a row agree, however often it is timed."""
    sampler = ToySampler(5, [], disturbances=[2.0**power for power in range(9)])
    toy = Comparison(
        [Contender("uncached", Kind.UNCACHED, 5)],
        sampler,  # type: ignore[arg-type]
        [Brightness()],  # type: ignore[list-item]
        PROMPTS,
        seeds_per_prompt=2,
        first_seed=100,
        batch_size=3,
    )
    measurements = [measurement for measurement, _, _ in toy.run()]
    assert len(list(toy.time_again(measurements, rounds=rounds))) == rounds


def test_what_is_done_is_not_made_again() -> None:
    whole = comparison([])
    measurements = {result[0].key: result[0] for result in whole.run()}
    for stop_after in range(len(measurements) + 1):
        done = {}
        for measurement, _, _ in comparison([]).run():
            if len(done) == stop_after:
                break
            done[measurement.key] = measurement
        calls: list[tuple[int, int]] = []
        resumed = comparison(calls)
        for measurement, _, _ in resumed.run(dict(done)):
            assert measurement.key not in done
            done[measurement.key] = measurement
        assert {key: each.images_sha256 for key, each in done.items()} == {
            key: each.images_sha256 for key, each in measurements.items()
        }
        for one, other in zip(
            resumed.outcomes(done.values()), whole.outcomes(measurements.values()), strict=True
        ):
            for name in one.scores_by:
                assert one.scores_by[name].tolist() == other.scores_by[name].tolist()
    assert calls == []  # all done: not even a warm-up


def test_the_first_row_must_be_uncached() -> None:
    with pytest.raises(ConfigError, match="first row"):
        Comparison(
            [Contender("other", Kind.BASELINE, 1, pipeline=Other())],  # type: ignore[arg-type]
            ToySampler(5, []),  # type: ignore[arg-type]
            [],
            PROMPTS,
            seeds_per_prompt=1,
            first_seed=0,
            batch_size=1,
        )


def test_another_size_that_cannot_be_judged_shows_in_the_warm_up() -> None:
    toy = comparison([])

    def large(prompts: Any, jobs: Any) -> Any:
        return np.zeros((len(jobs), 128, 128, 3), np.uint8), 1.0

    toy.contenders[3].pipeline.sample = large  # type: ignore[union-attr, method-assign]
    with pytest.raises(ConfigError, match="^other: too large: 128$"):
        next(toy.run())


def test_out_of_memory_names_the_row_and_the_remedy() -> None:
    toy = comparison([])

    def explode(prompts: Any, jobs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    iterator = toy.run()
    next(iterator)
    toy.contenders[3].pipeline.sample = explode  # type: ignore[union-attr, method-assign]
    with pytest.raises(
        TransientEvaluationError, match="out of memory in other with batches of 4.*--batch-size"
    ):
        list(iterator)


def test_the_same_scores_as_the_searchs_evaluator(tiny_pipe: Any, tiny_folder: Any) -> None:
    """What a report says of a schedule is what the search would say on the same jobs, bit for bit."""
    model = LoadedModel(find_model(str(tiny_folder)), PIXART, tiny_pipe, torch.device("cpu"))
    settings = settings_for(model.source, Overrides(steps=4))
    sampler = make_sampler(model, settings)
    schedule = heuristic("fora:2", ScheduleShape("pixart", 4, {"transformer_blocks": 3}))
    arguments = {"seeds_per_prompt": 1, "first_seed": 7, "batch_size": 2}
    outcomes = compare(
        [Contender("uncached", Kind.UNCACHED, 4), Contender("fora:2", Kind.HEURISTIC, 4, schedule)],
        sampler,
        [Brightness()],  # type: ignore[list-item]
        PROMPTS,
        **arguments,  # type: ignore[arg-type]
    )
    evaluator = ModelEvaluator(sampler, Brightness(), PROMPTS, None, **arguments)  # type: ignore[arg-type]
    assert outcomes[0].scores.tolist() == evaluator.scores(None).tolist()
    assert outcomes[1].scores.tolist() == evaluator.scores(schedule).tolist()
    assert outcomes[0].scores.tolist() != outcomes[1].scores.tolist()
    with applied(tiny_pipe, schedule):  # nothing was left behind
        pass
