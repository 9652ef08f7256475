"""What every executor must do; each implementation's tests inherit from this class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from contracts.fake_evaluator import FakeFactory, candidates, expected

from ecad.execution import Executor
from ecad.records import Candidate


class ExecutorContract:
    """Subclasses say how the executor is made, and how many units it may have in flight.

    `together` is the number of candidates at most in a unit.
    """

    in_flight = 1

    def executor(self, factory: FakeFactory, together: int = 1) -> AbstractContextManager[Executor]:
        raise NotImplementedError

    def test_every_candidate_gets_its_evaluation(self, tmp_path: Path) -> None:
        asked = candidates(7)
        with self.executor(FakeFactory(str(tmp_path))) as executor:
            results = {each.key: result for each, result in executor.run(asked)}
        assert results == {each.key: expected(each) for each in asked}
        visits = (tmp_path / "visits").read_text().splitlines()
        assert len(visits) == len({line.rsplit(" ", 1)[0] for line in visits}) == 7 * 3

    def test_candidates_in_groups_get_the_same_evaluations(self, tmp_path: Path) -> None:
        asked = candidates(36)
        with self.executor(FakeFactory(str(tmp_path)), together=3) as executor:
            results = {each.key: result for each, result in executor.run(asked)}
        assert results == {each.key: expected(each) for each in asked}
        visits = [line.split() for line in (tmp_path / "visits").read_text().splitlines()]
        assert len(visits) == 36 * 3
        assert {together for _, _, _, together, _ in visits} <= {"1", "2", "3"}
        assert sum(together == "3" for _, _, _, together, _ in visits) > 50

    def test_in_a_group_only_what_fails_is_marked(self, tmp_path: Path) -> None:
        asked = candidates(36)
        faults = {asked[3].key: "memory", asked[7].key: "error", asked[8].key: "nan"}
        with self.executor(FakeFactory(str(tmp_path), faults), together=3) as executor:
            results = {each.key: result for each, result in executor.run(asked)}
        assert [each.index for each in asked if results[each.key] != expected(each)] == [7, 8]
        assert results[asked[7].key].failure == "ValueError: this schedule"
        assert "not finite" in (results[asked[8].key].failure or "")

    def test_groups_end_where_the_memory_does_not_suffice_for_them(self, tmp_path: Path) -> None:
        asked = candidates(36)
        faults = {each.key: "memory together" for each in asked}
        with self.executor(FakeFactory(str(tmp_path), faults), together=3) as executor:
            results = {each.key: result for each, result in executor.run(asked)}
            assert results == {each.key: expected(each) for each in asked}
            (tmp_path / "visits").unlink()
            more = candidates(36, first=36)
            results = {each.key: result for each, result in executor.run(more)}
            assert results == {each.key: expected(each) for each in more}
        # Not tried again.
        assert {line.split()[3] for line in (tmp_path / "visits").read_text().splitlines()} == {"1"}

    def test_nothing_to_do(self) -> None:
        with self.executor(FakeFactory()) as executor:
            assert list(executor.run([])) == []

    def test_what_fails_is_marked_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        asked = candidates(5)
        faults = dict(
            zip(
                [each.key for each in asked],
                ["memory", "memory always", "error", "nan", "minus infinity"],
                strict=True,
            )
        )
        more = candidates(2, first=5)
        with self.executor(FakeFactory(str(tmp_path), faults)) as executor:
            results = {each.key: result for each, result in executor.run([*asked, *more])}
        # Half the batch was enough for the first one: the same scores.
        for sound in (asked[0], *more):
            assert results[sound.key] == expected(sound)
        reasons = [results[each.key].failure for each in asked[1:]]
        assert reasons == [
            "TransientEvaluationError: out of memory with 2 pieces",
            "ValueError: this schedule",
            f"cost {asked[3].schedule.recompute_fraction():g}, quality nan: not finite",
            f"cost {asked[4].schedule.recompute_fraction():g}, quality -inf: not finite",
        ]
        assert not any(results[each.key].is_finite for each in asked[1:])
        tried = [line.split()[1:3] for line in (tmp_path / "visits").read_text().splitlines()]
        assert tried.count(["1", "2"]) == 2  # both out of memory, tried again in two pieces

    def test_candidates_are_taken_when_there_is_room_and_may_depend_on_results(self) -> None:
        finished: list[Candidate] = []
        most_open = 0

        def asked() -> Iterator[Candidate]:
            nonlocal most_open
            for number, each in enumerate(candidates(8)):
                most_open = max(most_open, number - len(finished))
                yield each

        with self.executor(FakeFactory()) as executor:
            for each, _ in executor.run(asked()):
                finished.append(each)
        assert len(finished) == 8
        assert most_open <= self.in_flight

    def test_a_run_that_was_left_does_not_disturb_the_next(self) -> None:
        with self.executor(FakeFactory()) as executor:
            first = executor.run(candidates(6))
            next(first)
            first.close()  # type: ignore[attr-defined]
            asked = candidates(4, first=6)
            assert {each.key: result for each, result in executor.run(asked)} == {
                each.key: expected(each) for each in asked
            }
