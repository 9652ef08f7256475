"""The second look: which schedules get it, and what it decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecad.errors import RunError
from ecad.execution import Executor
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule, ScheduleShape
from ecad.searching.selection import finalists, select
from ecad.storage import RunFolder

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})


def cases(*points: tuple[float, float]) -> tuple[list[Candidate], dict[str, Evaluation]]:
    """Candidates called 0, 1, 2, ... with these costs and qualities."""
    schedule = Schedule.all_recompute(SHAPE)
    candidates = [Candidate(str(index), schedule, "", 1, index) for index in range(len(points))]
    evaluations = {
        str(index): Evaluation(key=str(index), cost=cost, quality=quality, scores=(quality,), macs=1)
        for index, (cost, quality) in enumerate(points)
    }
    return candidates, evaluations


def chosen(count: int, *points: tuple[float, float]) -> list[str]:
    """Keys of the finalists; below .4 a schedule is of no use, above .995 it counts as lossless."""
    candidates, evaluations = cases(*points)
    return [candidate.key for candidate in finalists(candidates, evaluations, count, (0.4, 0.995))]


def test_finalists_are_the_front_and_what_is_nearest_to_it() -> None:
    points = [
        (1.0, 1.0),  # 0: the best
        (0.1, 0.0),  # 1: the cheapest: ruined, of no use
        (0.5, 0.9),  # 2: on the front
        (0.6, 0.89),  # 3: just below
        (0.55, 0.6),  # 4: far below
        (0.3, 0.39),  # 5: on the front, but of no use (below 40 %)
        (0.35, 0.5),  # 6: on the front
    ]
    assert chosen(4, *points) == ["0", "2", "3", "6"]
    assert chosen(5, *points) == ["0", "2", "3", "4", "6"]
    assert chosen(9, *points) == ["0", "2", "3", "4", "6"]


def test_of_lossless_schedules_only_the_front_s_own_are_finalists() -> None:
    """What is above 99.5 % of the quality is as good as lossless: schedules near to each other there are not told
    apart. But one that looks better than everything cheaper may well be."""
    points = [(1.0, 0.998), (0.9, 1.0), (0.8, 0.996), (0.7, 0.99), (0.75, 0.985), (0.1, 0.0)]
    assert chosen(9, *points) == ["1", "2", "3", "4"]


def test_what_is_simple_stays_in_play_unless_it_is_clearly_worse() -> None:
    """The first generation's schedules, heuristics and masks, against the best that costs no more, image by image."""
    candidates, evaluations = cases((0.5, 0.8), (0.5, 0.79), (0.5, 0.79), (0.5, 0.79))
    scores = {
        "0": (0.9, 0.8, 0.7, 0.8),
        "1": (0.8, 0.9, 0.66, 0.8),  # -.01 with a standard error of .04
        "2": (0.89, 0.79, 0.69, 0.79),  # -.01 in every image
        "3": (0.8, 0.9, 0.66, 0.8),  # as 1, but not simple
    }
    evaluations = {key: replace(evaluations[key], scores=scores[key]) for key in scores}
    simple = {"0", "1", "2"}
    kept = finalists(candidates, evaluations, 2, (0.4, 0.995), simple)
    assert [candidate.key for candidate in kept] == ["0", "1"]
    # Also where differences count as luck.
    assert [candidate.key for candidate in finalists(candidates, evaluations, 9, (0.1, 0.2), simple)] == [
        "0",
        "1",
    ]


def test_a_front_that_is_too_large_is_spread_out() -> None:
    """It takes seven tenths of the places; what is just below it gets the others."""
    front = [(0.2, 0.5), (0.3, 0.7), (0.31, 0.705), (0.5, 0.9), (0.51, 0.901), (0.8, 0.95)]
    below = [(0.21, 0.49), (0.55, 0.85)]
    assert chosen(5, *front, *below) == ["0", "1", "3", "5", "6"]
    assert chosen(7, *front, *below) == ["0", "1", "2", "3", "5", "6", "7"]
    assert chosen(9, *front, *below) == [str(number) for number in range(8)]


def test_of_what_is_simple_the_least_clearly_worse_comes_first() -> None:
    candidates, evaluations = cases((0.5, 0.8), (0.5, 0.79), (0.5, 0.78), (0.5, 0.797))
    scores = {
        "0": (0.9, 0.8, 0.7, 0.8),
        "1": (0.8, 0.9, 0.66, 0.8),  # -.01 with a standard error of .04
        "2": (0.88, 0.86, 0.64, 0.74),  # -.02 with one of .03
        "3": (0.897, 0.797, 0.697, 0.797),  # -.003 in every image; not simple
    }
    evaluations = {key: replace(evaluations[key], scores=scores[key]) for key in scores}
    kept = finalists(candidates, evaluations, 2, (0.4, 0.995), {"1", "2"})
    assert [candidate.key for candidate in kept] == ["0", "1"]
    # A fifth of the places is theirs, before what is nearest to the front.
    kept = finalists(candidates, evaluations, 3, (0.4, 0.995), {"1", "2"})
    assert [candidate.key for candidate in kept] == ["0", "1", "3"]
    assert len(finalists(candidates, evaluations, 4, (0.4, 0.995), {"1", "2"})) == 4


def test_what_is_simple_is_spread_over_its_costs() -> None:
    """Five are as good as the front where nothing is lost, one is in doubt where much is: that one has the first of
    their places."""
    costs = (0.5, 0.6, 0.62, 0.64, 0.66, 0.68, 0.2, 0.201)
    candidates, evaluations = cases(*((cost, 0.9) for cost in costs[:6]), (0.2, 0.8), (0.201, 0.79))
    for key, each in evaluations.items():
        low = each.cost > 0.201
        scores = (each.quality, each.quality, each.quality + 0.01 * low, each.quality - 0.01 * low)
        evaluations[key] = replace(each, scores=scores)
    evaluations["7"] = replace(evaluations["7"], scores=(0.84, 0.84, 0.74, 0.74))
    simple = {"1", "2", "3", "4", "5", "7"}
    kept = finalists(candidates, evaluations, 5, (0.4, 0.5), simple)
    assert {"0", "6", "7"} <= {candidate.key for candidate in kept}


def test_what_losses_are_differences_to_is_a_finalist() -> None:
    candidates, evaluations = cases((1.0, 0.5), (0.5, 0.9), (0.4, 0.8))
    kept = finalists(candidates, evaluations, 2, (0.4, 0.995), uncached="0")
    assert [candidate.key for candidate in kept] == ["0", "1", "2"]


class Backwards:
    """An executor that finishes the last candidate first. `failing` are keys of candidates that fail."""

    workers = ()

    def __init__(self, failing: Sequence[str] = ()) -> None:
        self.failing = failing
        self.asked: list[list[str]] = []

    @contextmanager
    def on(self, evaluator: Any) -> Iterator[Executor]:
        yield self

    def run(self, candidates: Any) -> Iterator[tuple[Candidate, Evaluation]]:
        given = list(candidates)
        self.asked.append([candidate.key for candidate in given])
        for candidate in reversed(given):
            if candidate.key in self.failing:
                yield candidate, Evaluation.failed(candidate.key, "ValueError: no")
            else:
                yield candidate, Evaluation(candidate.key, 0.5, 0.25, (0.25, 0.25), 1)


RUN: Any = SimpleNamespace(
    selection_evaluators=(SimpleNamespace(images_per_evaluation=2),),
    shape=SHAPE,
    settings=SimpleNamespace(seeds_per_prompt=1),
)
SIMPLE = {"0", "1", "2", "3"}
POINTS = ((1.0, 1.0), (0.5, 0.9), (0.4, 0.8), (0.1, 0.0))


def logged_keys(folder: RunFolder) -> list[str]:
    lines = (folder.path / "selection-1.jsonl").read_text().splitlines()
    return [line.split('"key":"')[1].split('"')[0] for line in lines]


def started(folder: RunFolder) -> list[Candidate]:
    candidates, evaluations = cases(*POINTS)
    for candidate in candidates:
        folder.log.append(candidate, evaluations[candidate.key])
    return candidates


def test_a_failed_finalist_is_dropped_and_the_log_has_the_order_of_the_candidates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []
    with RunFolder(tmp_path) as folder:
        candidates = started(folder)
        executor = Backwards(failing=["1"])
        kept, evaluations = select(
            RUN,
            candidates,
            SIMPLE,
            folder,
            executor.on,
            lambda done, total, workers: seen.append((done, total)),
        )
        assert executor.asked == [["0", "1", "2"]]
        assert [candidate.key for candidate in kept] == list(evaluations) == ["0", "2"]
        # (1.0 + 0.25 + 0.25) / 3, on all images.
        assert evaluations["0"].scores == (1.0, 0.25, 0.25)
        assert evaluations["0"].quality == 0.5
        assert logged_keys(folder) == ["0", "1", "2"]
        assert seen == [(0, 6), (2, 6), (4, 6), (6, 6)]
        assert "schedule 1 is left out of the selection: ValueError: no" in caplog.text
        # Again: nothing is left to do, so no executor is made.
        again = select(RUN, candidates, SIMPLE, folder, None)  # type: ignore[arg-type]
        assert again == (kept, evaluations)


def test_a_selection_in_which_all_fail_is_not_logged(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        candidates = started(folder)
        with pytest.raises(RunError, match=r"all 3 candidates to evaluate failed \(ValueError: no\)"):
            select(RUN, candidates, SIMPLE, folder, Backwards(failing=["0", "1", "2"]).on)
        assert logged_keys(folder) == []
