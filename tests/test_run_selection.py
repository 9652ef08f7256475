"""The second look: which schedules get it, and what it decides."""

from __future__ import annotations

from ecad.records import Candidate, Evaluation
from ecad.run_selection import finalists
from ecad.schedule import Schedule, ScheduleShape

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
    return [candidate.key for candidate in finalists(*cases(*points), count)]


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
    assert chosen(1, *points) == ["0", "2", "6"]
    assert chosen(4, *points) == ["0", "2", "3", "6"]
    assert chosen(9, *points) == ["0", "2", "3", "4", "6"]


def test_of_lossless_schedules_only_the_cheapest_is_a_finalist() -> None:
    """What is above 99.5 % of the quality is as good as lossless: its order is luck."""
    assert chosen(9, (1.0, 0.998), (0.9, 1.0), (0.8, 0.996), (0.7, 0.99), (0.1, 0.0)) == ["2", "3"]
