"""The executor of one process, and what the ledger does with units."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from contracts.executor import ExecutorContract
from contracts.fake_evaluator import FakeFactory, candidates, expected

from ecad.errors import BrokenWorkerError, ConfigError
from ecad.execution import ExecutionSettings, Executor, LocalExecutor
from ecad.execution.ledger import Ledger


class TestLocalExecutor(ExecutorContract):
    def executor(self, factory: FakeFactory, together: int = 1) -> AbstractContextManager[Executor]:
        return nullcontext(LocalExecutor(factory(), together))


def test_a_broken_process_ends_the_search(tmp_path: Path) -> None:
    [each] = candidates(1)
    executor = LocalExecutor(FakeFactory(str(tmp_path), {each.key: "broken once"})())
    with pytest.raises(BrokenWorkerError, match="device-side assert"):
        list(executor.run([each]))


def test_sums_do_not_depend_on_the_order_of_completion() -> None:
    [each] = candidates(1)
    evaluator = FakeFactory()()
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        ledger = Ledger([each], evaluator)
        units = [ledger.take() for _ in range(3)]
        assert ledger.take() is None
        for batch in order:
            unit = units[batch]
            assert unit is not None
            assert not list(ledger.finished())
            ledger.done(unit, evaluator.score_batch(unit.schedules, batch))
        assert list(ledger.finished()) == [(each, expected(each))]
        assert ledger.is_done


def test_a_lost_unit_is_done_before_all_others_and_not_for_ever() -> None:
    each, other = candidates(2)
    ledger = Ledger([each, other], FakeFactory()())
    first = ledger.take()
    assert first is not None
    for _ in range(2):
        ledger.lost(first, "the machine has gone")
        assert ledger.take() == first
    ledger.lost(first, "the machine has gone")
    [(failed, evaluation)] = ledger.finished()
    assert failed is each
    assert evaluation.failure == "3 workers were lost with it, the last: the machine has gone"
    following = ledger.take()
    assert following is not None
    assert following.candidates == (other,)  # the failed one's other batches are not done


def test_groups_end_after_a_few_that_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    asked = candidates(24)
    ledger = Ledger(asked, FakeFactory()(), together=3)
    for number in range(3):
        unit = ledger.take()
        assert unit is not None
        assert len(unit.candidates) == 3
        ledger.lost(unit, f"reason {number}")
        alone = [ledger.take() for _ in range(3)]
        assert [each.candidates for each in alone if each is not None] == [(one,) for one in unit.candidates]
    sizes = []
    while (unit := ledger.take()) is not None:
        sizes.append(len(unit.candidates))
    assert set(sizes) == {1}
    assert [record.message for record in caplog.records] == [
        f"3 candidates together: reason {number}; now one by one" for number in range(3)
    ]


def test_a_broken_process_with_several_candidates_says_what_may_help(tmp_path: Path) -> None:
    asked = candidates(3)
    executor = LocalExecutor(FakeFactory(str(tmp_path), {asked[0].key: "broken once"})(), together=3)
    with pytest.raises(BrokenWorkerError, match="device-side assert triggered; .*--together 1 needs less"):
        list(executor.run(asked))


def test_settings_are_checked_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ExecutionSettings(workers=-1, gpus_per_worker=1.5, threads=0, unit_timeout_s=float("nan"), together=0)
    for part in (
        "--workers",
        "--gpus-per-worker above 1 must be whole, not 1.5",
        "--threads",
        "--unit-timeout",
        "--together",
    ):
        assert part in str(caught.value)


def test_threads_are_shared_between_workers_on_one_machine() -> None:
    assert ExecutionSettings().threads_each(8) == 8
    assert ExecutionSettings(workers=3).threads_each(8) == 2
    assert ExecutionSettings(workers=16).threads_each(8) == 1
    assert ExecutionSettings(workers=2, ray_address="head:6379").threads_each(8) == 1
    assert ExecutionSettings(workers=2, threads=5).threads_each(8) == 5
