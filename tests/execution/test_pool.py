"""The pool's decisions, in virtual time: who gets what, who is replaced, when it gives up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.executor import ExecutorContract
from contracts.fake_evaluator import SHAPE, FakeFactory, candidates, expected
from contracts.toys import toy_settings

from ecad.errors import RunError, TransientEvaluationError, describe
from ecad.execution import Executor, LocalExecutor
from ecad.execution.ledger import Unit
from ecad.execution.pool import WorkerPool
from ecad.execution.simulated import SimulatedTransport, unequal
from ecad.execution.transport import Event
from ecad.searching.history import History
from ecad.searching.run import evolve
from ecad.searching.settings import ResolvedSearchSettings
from ecad.searching.steady import evolve_steadily
from ecad.storage import EvaluationLog


class FaultyTransport(SimulatedTransport):
    """Simulated workers that report what the evaluator raises, and do as `script[worker]` says at a submit."""

    def __init__(
        self, factory: FakeFactory, workers: int, script: dict[int, str] | None = None, seconds: float = 1.0
    ) -> None:
        super().__init__(factory(), workers, lambda worker, unit: seconds * (1 + worker))
        self.script = script or {}
        self.started: list[int] = []
        self.stopped: list[int] = []

    def start(self, worker: int) -> None:
        self.started.append(worker)
        text = self.script.get(worker, "")
        if text.startswith("start "):
            self._schedule(1.0, Event(worker, text.split()[1], text="as the script says"))  # type: ignore[arg-type]
        elif text != "never ready":
            super().start(worker)

    def submit(self, worker: int, unit: Unit) -> None:
        text = self.script.get(worker, "")
        if text in ("gone", "broken"):
            self._schedule(0.5, Event(worker, text, text=f"{text} for a test"))  # type: ignore[arg-type]
        elif text != "hangs":
            try:
                super().submit(worker, unit)
            except TransientEvaluationError as error:
                self._schedule(1.0, Event(worker, "memory", text=describe(error)))
            except ValueError as error:
                self._schedule(1.0, Event(worker, "failed", text=describe(error)))

    def stop(self, worker: int) -> None:
        self.stopped.append(worker)
        super().stop(worker)


def pool_on(transport: SimulatedTransport, timeout_s: float = 100.0, **options: float) -> WorkerPool:
    return WorkerPool(transport, FakeFactory()(), unit_timeout_s=timeout_s, clock=transport.clock, **options)  # type: ignore[arg-type]


class TestPool(ExecutorContract):
    in_flight = 3

    @contextmanager
    def executor(self, factory: FakeFactory, together: int = 1) -> Iterator[Executor]:
        yield pool_on(FaultyTransport(factory, 3), together=together)


def test_groups_leave_something_to_do_for_every_worker() -> None:
    for workers, together in ((1, 4), (3, 4), (4, 3), (12, 1)):  # 12 candidates of 3 batches
        transport = FaultyTransport(FakeFactory(), workers)
        sizes = []
        submit = transport.submit

        def noted(worker: int, unit: Unit, sizes: Any = sizes, submit: Any = submit) -> None:
            sizes.append(len(unit.candidates))
            submit(worker, unit)

        transport.submit = noted  # type: ignore[method-assign]
        assert len(list(pool_on(transport, together=4).run(candidates(12)))) == 12
        assert max(sizes) == together
        sizes.clear()
        list(pool_on(transport, together=4).run(iter(candidates(12))))  # it may depend on results
        assert max(sizes) == 1


def test_the_groups_with_the_most_work_come_first() -> None:
    """In the end no worker waits long for another one's last unit."""
    transport = FaultyTransport(FakeFactory(), 1)
    work = []
    submit = transport.submit

    def noted(worker: int, unit: Unit) -> None:
        work.append(sum(schedule.recompute_fraction() for schedule in unit.schedules))
        submit(worker, unit)

    transport.submit = noted  # type: ignore[method-assign]
    list(pool_on(transport, together=4).run(candidates(12)))
    assert len(set(work)) > 1
    assert work == sorted(work, reverse=True)


def test_a_worker_that_is_lost_with_a_group_loses_nothing() -> None:
    transport = FaultyTransport(FakeFactory(), 2, {0: "gone", 1: "hangs"})
    pool = pool_on(transport, timeout_s=10.0, together=3)
    asked = candidates(12)
    assert {each.key: result for each, result in pool.run(asked)} == {
        each.key: expected(each) for each in asked
    }
    assert transport.stopped == [1]
    assert transport.now_s > 30.0  # three candidates have three times as long


@pytest.mark.parametrize("fault", ["gone", "broken", "hangs"])
def test_a_lost_worker_is_replaced_and_nothing_is_lost(fault: str) -> None:
    transport = FaultyTransport(FakeFactory(), 2, {0: fault})
    pool = pool_on(transport, timeout_s=10.0)
    asked = candidates(4)
    assert {each.key: result for each, result in pool.run(asked)} == {
        each.key: expected(each) for each in asked
    }
    assert transport.started == [0, 1, 2]
    assert transport.stopped == ([0] if fault == "hangs" else [])
    assert [worker.restarts for worker in pool.workers] == [1, 0]
    # A hang is noticed at the first look, one a second, after its time is up.
    assert transport.now_s <= (30.0 if fault == "hangs" else 25.0)


def test_a_candidate_that_takes_every_worker_with_it_is_given_up() -> None:
    transport = FaultyTransport(FakeFactory(), 1, dict.fromkeys(range(3), "gone"))
    first, second = candidates(2)
    results = {each.key: result for each, result in pool_on(transport).run([first, second])}
    assert results[first.key].failure == "3 workers were lost with it, the last: gone for a test"
    assert results[second.key] == expected(second)


def test_workers_that_cannot_start_are_an_error_that_says_why() -> None:
    transport = FaultyTransport(FakeFactory(), 1, dict.fromkeys(range(9), "start gone"))
    with pytest.raises(RunError, match="no worker can be started: as the script says"):
        list(pool_on(transport).run(candidates(1)))
    assert transport.started == [0, 1, 2]
    transport = FaultyTransport(FakeFactory(), 2, {0: "start wrong"})
    with pytest.raises(RunError, match="the workers cannot start: as the script says"):
        list(pool_on(transport).run(candidates(9)))


def test_one_place_without_a_worker_does_not_stop_the_others() -> None:
    script = dict.fromkeys((0, 2, 3), "start gone")
    transport = FaultyTransport(FakeFactory(), 2, script)
    pool = pool_on(transport)
    assert len(list(pool.run(candidates(5)))) == 5
    assert [worker.state for worker in pool.workers] == ["given up", "idle"]


def test_waiting_for_a_first_worker_ends() -> None:
    transport = FaultyTransport(FakeFactory(), 1, {0: "never ready"})
    with pytest.raises(RunError, match="no worker for 50 s"):
        list(pool_on(transport, start_timeout_s=50.0).run(candidates(1)))
    assert 50.0 < transport.now_s < 53.0


def test_a_new_place_is_used_during_the_run() -> None:
    transport = FaultyTransport(FakeFactory(), 1)
    pool = pool_on(transport)
    for number, _ in enumerate(pool.run(candidates(6))):
        if number == 1:
            transport._workers = 2
    assert len(pool.workers) == 2
    assert pool.workers[1].images > 0
    assert sum(worker.images for worker in pool.workers) == 6 * 5


def test_reports_count_images_and_time() -> None:
    transport = FaultyTransport(FakeFactory(), 2)  # 1 s and 2 s per unit
    pool = pool_on(transport)
    assert [worker.state for worker in pool.workers] == ["starting", "starting"]
    assert len(list(pool.run(candidates(2)))) == 2
    fast, slow = pool.workers
    # Six units: the fast worker does four in 4 s, the slow one two; both are busy all the time.
    assert (transport.now_s, fast.busy_share, slow.busy_share) == (4.0, 1.0, 1.0)
    assert fast.images + slow.images == 10
    assert fast.images_per_second == fast.images / 4.0
    assert (fast.place, fast.state, fast.restarts) == ("simulated:0", "idle", 0)


# --- searches ---

CONFIG = toy_settings(generations=5, population=10)


def searched(
    executor: Executor, path: Path, steadily: bool = False, config: ResolvedSearchSettings = CONFIG
) -> tuple[bytes, History]:
    loop = evolve_steadily if steadily else evolve
    with EvaluationLog(path) as log:
        history = loop(config, SHAPE, executor, log, lambda progress: None)
    return path.read_bytes(), history


def test_the_log_is_the_same_for_any_workers_and_any_order(tmp_path: Path) -> None:
    whole, _ = searched(LocalExecutor(FakeFactory()()), tmp_path / "local.jsonl")
    assert whole.count(b"\n") == 50
    rng = np.random.default_rng(3)
    for workers in (1, 3, 20):
        transport = SimulatedTransport(
            FakeFactory()(), workers, lambda worker, unit: float(rng.exponential())
        )
        assert searched(pool_on(transport), tmp_path / f"{workers}.jsonl")[0] == whole


def test_failures_are_the_same_for_any_order_and_survive_a_resume(tmp_path: Path) -> None:
    _, history = searched(LocalExecutor(FakeFactory()()), tmp_path / "sound.jsonl")
    faults = {history.candidates[index].key: "error" for index in (0, 4, 9)}
    whole, history = searched(LocalExecutor(FakeFactory(faults=faults)()), tmp_path / "local.jsonl")
    assert whole.count(b'"failure":"ValueError: this schedule"') == 3
    assert all(np.isfinite(value) for value in history.hypervolume)
    transport = FaultyTransport(FakeFactory(faults=faults), 4)
    assert searched(pool_on(transport), tmp_path / "pool.jsonl")[0] == whole
    lines = whole.splitlines(keepends=True)
    (tmp_path / "resumed.jsonl").write_bytes(b"".join(lines[:7]))
    resumed, again = searched(LocalExecutor(FakeFactory(faults=faults)()), tmp_path / "resumed.jsonl")
    assert resumed == whole
    assert again.hypervolume == history.hypervolume


def test_if_everything_fails_the_search_stops_and_nothing_is_logged(tmp_path: Path) -> None:
    class AlwaysFails(FakeFactory):
        def __call__(self):  # type: ignore[no-untyped-def]
            evaluator = super().__call__()
            evaluator.score_batch = lambda *arguments: 1 / 0  # type: ignore[method-assign]
            return evaluator

    for steadily in (False, True):
        path = tmp_path / f"{steadily}.jsonl"
        with pytest.raises(RunError, match=r"10 candidates.* failed \(ZeroDivisionError"):
            searched(LocalExecutor(AlwaysFails()()), path, steadily)
        assert path.read_bytes() == b""


def test_scores_that_are_no_numbers_are_failures_but_not_of_the_machine(tmp_path: Path) -> None:
    """Unlike errors they are logged, with their costs and scores, even if no candidate has a number."""

    class NoNumbers(FakeFactory):
        def __call__(self):  # type: ignore[no-untyped-def]
            evaluator = super().__call__()
            evaluator.score_batch = lambda schedules, batch, pieces: ((float("nan"),) * 2,)  # type: ignore[method-assign]
            return evaluator

    for steadily in (False, True):
        path = tmp_path / f"{steadily}.jsonl"
        log, history = searched(LocalExecutor(NoNumbers()()), path, steadily)
        records = [json.loads(line) for line in log.splitlines()]
        assert len(records) == 50
        assert {(each["quality"], len(each["scores"])) for each in records} == {(None, 6)}
        assert all(each["failure"].endswith("quality nan: not finite") for each in records)
        assert all(each["cost"] > 0.0 for each in records)
        assert history.hypervolume == [0.0] * 5


def test_steady_state_keeps_unequal_workers_busy(tmp_path: Path) -> None:
    """Four workers, one at a fifth of the speed: generations wait for it, the steady state does not.

    A longer search than the others here: at its end all wait for the slow one's last unit.
    """
    shares, config = {}, toy_settings(generations=20, population=10)
    for steadily in (False, True):
        transport = SimulatedTransport(FakeFactory()(), 4, unequal([1.0, 1.0, 1.0, 0.2], 1.0))
        log, history = searched(pool_on(transport), tmp_path / f"{steadily}.jsonl", steadily, config)
        assert log.count(b"\n") == 200
        assert len(history.hypervolume) == 20
        shares[steadily] = transport.utilisation()
    assert shares[True] > 0.95
    assert shares[False] < shares[True] - 0.1


def test_a_steady_search_is_the_same_again_if_the_timing_is(tmp_path: Path) -> None:
    logs = []
    for name in ("first", "second"):
        transport = SimulatedTransport(FakeFactory()(), 3, unequal([1.0, 1.0, 0.5], 1.0))
        logs.append(searched(pool_on(transport), tmp_path / name, True)[0])
    assert logs[0] == logs[1]


def test_a_steady_search_continues_where_it_was_stopped(tmp_path: Path) -> None:
    whole, _ = searched(LocalExecutor(FakeFactory()()), tmp_path / "log.jsonl", True)
    lines = whole.splitlines(keepends=True)
    assert len(set(lines)) == 50
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines[:23]) + b'{"torn')
    again, history = searched(LocalExecutor(FakeFactory()()), tmp_path / "log.jsonl", True)
    assert again.startswith(b"".join(lines[:23]))
    assert again.count(b"\n") == 50
    assert len({each.key for each in history.candidates}) == 50
