"""Which of the finalists make up the front: what beats a simple schedule by luck only does not replace it."""

from __future__ import annotations

from dataclasses import replace

from ecad.records import Evaluation
from ecad.searching.front import _speedup_name, chosen_front


def result(cost: float, *scores: float) -> Evaluation:
    return Evaluation(key="", cost=cost, quality=sum(scores) / len(scores), scores=scores, macs=1)


UNCACHED = result(1.0, 0.9, 0.9, 0.9, 0.9)
SIMPLE = result(0.5, 0.8, 0.9, 0.7, 0.8)
LUCKY = result(0.48, 0.9, 0.78, 0.8, 0.76)  # +.01 with a standard error of .06
BETTER = result(0.48, 0.81, 0.91, 0.71, 0.82)  # +.0125 with one of .0025


def front(*results: Evaluation, simple: tuple[int, ...] = (0, 1), useful: float = 0.0) -> list[int]:
    return chosen_front(results, set(simple), useful)


def test_what_is_surely_better_replaces_what_is_simple() -> None:
    assert front(UNCACHED, SIMPLE, BETTER) == [2]
    # An error more and it would have been luck.
    assert front(UNCACHED, SIMPLE, result(0.48, 0.9, 0.9, 0.7, 0.71)) == [1]


def test_luck_does_not() -> None:
    assert front(UNCACHED, SIMPLE, LUCKY) == [1]
    assert front(UNCACHED, SIMPLE, LUCKY, replace(LUCKY, cost=0.5)) == [1]
    # A schedule of the search itself has no such privilege.
    assert front(UNCACHED, SIMPLE, LUCKY, simple=(0,)) == [2]


def test_as_good_and_five_percent_cheaper_suffices() -> None:
    assert front(UNCACHED, SIMPLE, replace(LUCKY, cost=0.475)) == [2]


def test_of_simple_ones_the_best_counts() -> None:
    worse = result(0.5, 0.7, 0.8, 0.6, 0.6)
    assert front(UNCACHED, worse, LUCKY) == [2]
    assert front(UNCACHED, worse, LUCKY, SIMPLE, simple=(0, 1, 3)) == [3]


def test_what_is_cheaper_stays_beside_it() -> None:
    cheap = result(0.3, 0.7, 0.7, 0.7, 0.7)
    assert front(UNCACHED, SIMPLE, LUCKY, cheap) == [1, 3]


def test_no_rung_is_lost_to_a_simple_schedule_that_has_no_room() -> None:
    """Costs .60, .59 and .58: the simple one is too near to the first, what beats it is not."""
    first = result(0.6, 0.85, 0.9, 0.8, 0.85)
    simple, lucky = replace(SIMPLE, cost=0.59), replace(LUCKY, cost=0.58)
    assert front(UNCACHED, first, simple, lucky, simple=(0, 2)) == [1, 3]
    assert front(UNCACHED, simple, lucky, simple=(0, 1)) == [1]
    # Nor to one that is of no use.
    assert front(UNCACHED, SIMPLE, LUCKY, useful=0.805) == [2]
    # Nor is the first one, which must cost less than the uncached model by as much.
    assert front(UNCACHED, replace(SIMPLE, cost=0.99), replace(LUCKY, cost=0.93)) == [2]


def test_neighbours_are_apart() -> None:
    assert front(UNCACHED, SIMPLE, replace(SIMPLE, cost=0.495, quality=0.79), simple=(0,)) == [1]


def test_luck_of_what_differs_much_from_image_to_image_hides_nothing_dearer() -> None:
    """Neither loses anything on the mean; images of the cheaper one differ by .1, of the dearer one by .01."""
    dear, cheap = result(0.5, 0.91, 0.89, 0.905, 0.895), result(0.3, 1.0, 0.8, 1.0, 0.804)
    results = [UNCACHED, dear, cheap]
    assert chosen_front(results, set()) == [2]
    assert chosen_front(results, set(), uncached=UNCACHED) == [1, 2]
    # What surely loses nothing does hide it, and so does what surely loses less.
    assert chosen_front([*results, replace(UNCACHED, cost=0.3)], set(), uncached=UNCACHED) == [3]
    assert chosen_front([*results, result(0.3, 0.9, 0.9, 0.9, 0.895)], set(), uncached=UNCACHED) == [3]


def test_what_is_better_than_the_uncached_model_may_be() -> None:
    """Some metrics like cached images more; also there the dearer one has its place."""
    results = [UNCACHED, result(0.5, 0.95, 0.95, 0.95, 0.95), result(0.3, 0.92, 0.92, 0.92, 0.92)]
    assert chosen_front(results, set(), uncached=UNCACHED) == [1, 2]


def test_what_just_misses_a_round_speedup_does_not_hide_what_has_it() -> None:
    dear, cheap = result(0.204, 0.8, 0.8, 0.8, 0.8), result(0.2, 0.78, 0.78, 0.78, 0.78)
    assert chosen_front([UNCACHED, dear, cheap], set()) == [1, 2]
    assert chosen_front([UNCACHED, dear, replace(cheap, cost=0.201)], set()) == [1]
    assert chosen_front([UNCACHED, replace(dear, cost=0.199), replace(cheap, cost=0.196)], set()) == [1]
    # Nor what is simple and stands in for it, as long as that is as fast.
    lucky = result(0.198, 0.9, 0.68, 0.8, 0.76)
    worse = replace(cheap, scores=(0.68, 0.88, 0.78, 0.78))
    assert chosen_front([UNCACHED, dear, lucky, worse], {3}) == [1, 3]
    assert chosen_front([UNCACHED, dear, lucky, replace(worse, cost=0.2001)], {3}) == [1, 2]
    # Also where the dearer neighbour is farther away.
    far, simple = replace(dear, cost=0.21), replace(worse, cost=0.2055)
    assert chosen_front([UNCACHED, far, lucky, simple], {3}) == [1, 2]
    assert chosen_front([UNCACHED, far, lucky, replace(simple, cost=0.2)], {3}) == [1, 3]


def test_a_name_rounds_speedups_down() -> None:
    assert [_speedup_name(cost) for cost in (0.5, 0.50016, 0.2, 1.0, 0.3)] == [
        "2.00x",
        "1.99x",
        "5.00x",
        "1.00x",
        "3.33x",
    ]
