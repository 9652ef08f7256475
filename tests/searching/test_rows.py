"""The rows of a report: the same scores wherever their images are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecad.errors import RunError
from ecad.execution import Executor, LocalExecutor
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.records import Evaluator
from ecad.schedule import heuristic
from ecad.scoring.scenes import SHAPES
from ecad.searching.heldout import report_batch_size, timed_prompts
from ecad.searching.rows import RowFactory, measured_rows
from ecad.searching.settings import SearchSettings
from ecad.searching.setup import PreparedRun, prepare
from ecad.storage import RunFolder

PROMPTS = 9  # in batches of two: three batches are timed, three prompts are left


@pytest.fixture(scope="module", params=["alignment", "psnr"])
def run(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PreparedRun]:
    base = tmp_path_factory.mktemp("rows")
    (base / "search.txt").write_text("a large red circle on a gray background\n")
    sizes = ("small", "large")
    scenes = [f"a {size} red {shape} on a white background\n" for size in sizes for shape in SHAPES]
    (base / "heldout.txt").write_text("".join(scenes[:PROMPTS]))
    settings = SearchSettings.from_mapping(
        {
            **{"model": str(tiny_folder), "steps": 6, "generations": 1, "population": 4},
            **{"quality": request.param, "height": 64, "width": 64, "batch_size": 2, "device": "cpu"},
            **{"prompts": str(base / "search.txt"), "heldout_prompts": str(base / "heldout.txt")},
        }
    ).resolved()
    with RunFolder(base / "run") as folder:
        yield prepare(folder, settings, extend=False)


def contenders(run: PreparedRun) -> list[Contender]:
    steps = run.shape.steps
    return [
        Contender("uncached", Kind.UNCACHED, steps),
        Contender("fora:2", Kind.HEURISTIC, steps, heuristic("fora:2", run.shape)),
        Contender("steps:3", Kind.FEWER_STEPS, 3),
        Contender("steps:0,1,4", Kind.FEWER_STEPS, 3, levels=(0, 1, 4)),
    ]


@contextmanager
def elsewhere(
    evaluator: Evaluator, factory_on: Callable[[str, int], Callable[[], Evaluator]]
) -> Iterator[Executor]:
    """What a worker does, in this process: it makes its own evaluator."""
    factory = factory_on("cpu", 1)
    assert isinstance(factory, RowFactory)
    other = factory()
    assert (other.batches, other.batch_size) == (evaluator.batches, evaluator.batch_size) == (2, 2)
    yield LocalExecutor(other)


def test_scores_are_the_same_and_the_first_batches_are_timed(run: PreparedRun) -> None:
    seen: list[tuple[int, int]] = []

    def on_images(done: int, total: int, workers: Sequence[Any]) -> None:
        seen.append((done, total))

    here = measured_rows(run, contenders(run))
    there = measured_rows(run, contenders(run), elsewhere, on_images)
    for one, other in zip(here, there, strict=True):
        assert one.contender.name == other.contender.name
        assert one.scores.shape == (PROMPTS,)
        assert np.array_equal(one.scores, other.scores)
        assert (len(one.seconds_per_image), len(other.seconds_per_image)) == (4, 3)
    assert len({tuple(outcome.scores) for outcome in here}) == 4
    assert seen[-1] == (4 * PROMPTS, 4 * PROMPTS)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_report_on_a_cpu_is_made_in_small_batches(run: PreparedRun) -> None:
    large = replace(run, settings=replace(run.settings, batch_size=8))
    sizes: list[int] = []

    @contextmanager
    def elsewhere_in_small_batches(evaluator: Evaluator, factory_on: Any) -> Iterator[Executor]:
        factory = factory_on("cpu", 1)
        sizes.extend((evaluator.batch_size, factory.batch_size, factory().batch_size))
        yield LocalExecutor(factory())

    prompts = run.heldout_prompts
    outcomes = measured_rows(large, contenders(run), elsewhere_in_small_batches)
    assert large.report_batch_size == 4
    assert not sizes  # nine prompts are timed in three batches
    assert [len(outcome.seconds_per_image) for outcome in outcomes] == [2] * 4
    twice = replace(large, settings=replace(large.settings, heldout_seeds_per_prompt=2))
    outcomes = measured_rows(twice, contenders(run), elsewhere_in_small_batches)
    assert sizes == [4, 4, 4]
    assert [len(outcome.seconds_per_image) for outcome in outcomes] == [3] * 4
    assert {outcome.scores.shape for outcome in outcomes} == {(2 * len(prompts),)}


@pytest.mark.parametrize(
    ("batch_size", "device", "is_predicted", "size"),
    [(8, "cpu", False, 4), (1, "cpu", False, 1), (8, "cpu", True, 8), (8, "cuda", False, 8)],
)
def test_batches_of_a_report(batch_size: int, device: str, is_predicted: bool, size: int) -> None:
    settings = SearchSettings.from_mapping({"model": "pixart-mini", "batch_size": batch_size}).resolved()
    assert report_batch_size(settings, device, is_predicted) == size


def test_a_row_that_fails_elsewhere_is_named(run: PreparedRun) -> None:
    @contextmanager
    def broken(evaluator: Evaluator, factory_on: Any) -> Iterator[Executor]:
        def fail(*_: Any) -> Any:
            raise ValueError("no such luck")

        evaluator.score_batch = fail  # type: ignore[method-assign]
        yield LocalExecutor(evaluator, 4)

    with pytest.raises(RunError, match=r"the report's row .* failed: ValueError: no such luck"):
        measured_rows(run, contenders(run), broken)


@pytest.mark.parametrize(
    ("batch_size", "seeds", "prompts", "batches"),
    [(2, 1, 6, 3), (8, 5, 8, 2), (8, 3, 8, 2), (4, 16, 1, 3), (3, 4, 3, 3), (6, 4, 3, 2)],
)
def test_what_is_timed_is_whole_batches(batch_size: int, seeds: int, prompts: int, batches: int) -> None:
    assert timed_prompts(batch_size, seeds) == prompts
    assert prompts * seeds % batch_size == 0
    assert prompts * seeds >= batches * batch_size
