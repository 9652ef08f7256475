"""Which of the finalists make up the front: what beats a simple schedule by luck only does not replace it."""

from __future__ import annotations

from dataclasses import replace

from ecad.records import Evaluation
from ecad.searching.front import front_members


def result(cost: float, *scores: float) -> Evaluation:
    return Evaluation(key="", cost=cost, quality=sum(scores) / len(scores), scores=scores, macs=1)


UNCACHED = result(1.0, 0.9, 0.9, 0.9, 0.9)
SIMPLE = result(0.5, 0.8, 0.9, 0.7, 0.8)
LUCKY = result(0.48, 0.9, 0.78, 0.8, 0.76)  # +.01 with a standard error of .06
BETTER = result(0.48, 0.81, 0.91, 0.71, 0.82)  # +.0125 with one of .0025


def front(*results: Evaluation, simple: tuple[int, ...] = (0, 1)) -> list[int]:
    return front_members(results, set(simple))


def test_what_is_surely_better_replaces_what_is_simple() -> None:
    assert front(UNCACHED, SIMPLE, BETTER) == [0, 2]
    # An error more and it would have been luck.
    assert front(UNCACHED, SIMPLE, result(0.48, 0.9, 0.9, 0.7, 0.71)) == [0, 1]


def test_luck_does_not() -> None:
    assert front(UNCACHED, SIMPLE, LUCKY) == [0, 1]
    assert front(UNCACHED, SIMPLE, LUCKY, replace(LUCKY, cost=0.5)) == [0, 1]
    # A schedule of the search itself has no such privilege.
    assert front(UNCACHED, SIMPLE, LUCKY, simple=(0,)) == [0, 2]


def test_as_good_and_five_percent_cheaper_suffices() -> None:
    assert front(UNCACHED, SIMPLE, replace(LUCKY, cost=0.475)) == [0, 2]


def test_of_simple_ones_the_best_counts() -> None:
    worse = result(0.5, 0.7, 0.8, 0.6, 0.6)
    assert front(UNCACHED, worse, LUCKY) == [0, 2]
    assert front(UNCACHED, worse, LUCKY, SIMPLE, simple=(0, 1, 3)) == [0, 3]


def test_what_is_cheaper_stays_beside_it() -> None:
    cheap = result(0.3, 0.7, 0.7, 0.7, 0.7)
    assert front(UNCACHED, SIMPLE, LUCKY, cheap) == [0, 1, 3]
