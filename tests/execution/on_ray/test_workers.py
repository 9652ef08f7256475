"""The executor on real Ray processes: the contract, and every fault that a cluster can have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from contracts.executor import ExecutorContract
from contracts.fake_evaluator import SHAPE, FakeFactory, candidates, expected
from contracts.toys import toy_settings

from ecad.errors import ConfigError, RunError
from ecad.execution import Executor, LocalExecutor
from ecad.execution.pool import WorkerPool
from ecad.records import Candidate
from ecad.searching.run import evolve
from ecad.storage import EvaluationLog

pytestmark = pytest.mark.ray


@contextmanager
def ray_pool(
    factory: FakeFactory, workers: int = 2, timeout_s: float = 120.0, cpus: float = 0.5, together: int = 1
) -> Iterator[WorkerPool]:
    from ecad.execution.on_ray.workers import ray_workers

    with ray_workers(factory, workers=workers, address=None, cpus=cpus, gpus=0.0) as transport:
        yield WorkerPool(transport, FakeFactory()(), unit_timeout_s=timeout_s, tick_s=0.2, together=together)


@pytest.mark.usefixtures("ray_cluster")
class TestRayPool(ExecutorContract):
    in_flight = 2

    @contextmanager
    def executor(self, factory: FakeFactory, together: int = 1) -> Iterator[Executor]:
        with ray_pool(factory, together=together) as pool:
            yield pool


def visits(folder: Path) -> list[list[str]]:
    """(key, batch, pieces, candidates in the unit, process) of every candidate of a unit that was begun."""
    path = folder / "visits"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(process: int) -> None:
    """Ray ends an actor soon, not at once."""
    deadline = time.monotonic() + 60.0
    while alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_all_right(pool: Executor, count: int, during: Callable[[int], None] = lambda number: None) -> None:
    """All candidates are evaluated as they should be; `during` is called with the number of each result."""
    asked = candidates(count)
    results = {}
    for number, (each, result) in enumerate(pool.run(asked)):
        results[each.key] = result
        during(number)
    assert results == {each.key: expected(each) for each in asked}


@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_killed_in_the_middle_of_a_unit(tmp_path: Path) -> None:
    faults = {each.key: "die once" for each in candidates(3)}
    with ray_pool(FakeFactory(str(tmp_path), faults)) as pool:
        assert_all_right(pool, 6)
        assert sum(worker.restarts for worker in pool.workers) == 3
    # Lost and done again: three units; nothing else was done twice.
    assert len(visits(tmp_path)) == 6 * 3 + 3


@pytest.mark.usefixtures("ray_cluster")
def test_workers_stay_for_what_comes_next(tmp_path: Path) -> None:
    from ecad.execution.on_ray.workers import RaySession

    def processes(name: str) -> set[str]:
        return {process for *_, process in visits(tmp_path / name)}

    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    with RaySession(workers=2, address=None, cpus=0.5, gpus=0.0) as session:
        for name in ("first", "second"):
            factory = FakeFactory(str(tmp_path / name), seconds=0.05)
            with session.transport(factory) as transport:
                assert_all_right(WorkerPool(transport, factory(), unit_timeout_s=60.0), 8)
        assert processes("first") == processes("second")
        assert len(processes("first")) == 2
        # One that has died meanwhile is replaced.
        gone = min(processes("first"))
        os.kill(int(gone), signal.SIGKILL)
        wait_for_end(int(gone))
        factory = FakeFactory(str(tmp_path / "third"), seconds=0.05)
        with session.transport(factory) as transport:
            assert_all_right(WorkerPool(transport, factory(), unit_timeout_s=60.0), 8)
        assert gone not in processes("third")
    for process in processes("third"):
        wait_for_end(int(process))


@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_killed_from_outside(tmp_path: Path) -> None:
    def kill(number: int) -> None:
        if number == 2:
            os.kill(int(visits(tmp_path)[-1][4]), signal.SIGKILL)

    with ray_pool(FakeFactory(str(tmp_path), seconds=0.02)) as pool:
        assert_all_right(pool, 8, kill)
        assert sum(worker.restarts for worker in pool.workers) == 1


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_hangs_and_one_whose_gpu_is_gone(tmp_path: Path) -> None:
    first, second = candidates(2)
    faults = {first.key: "hang once", second.key: "broken once"}
    with ray_pool(FakeFactory(str(tmp_path), faults), timeout_s=3.0) as pool:
        assert_all_right(pool, 5)
        assert sum(worker.restarts for worker in pool.workers) == 2
    hung = [int(process) for key, batch, *_, process in visits(tmp_path) if (key, batch) == (first.key, "1")]
    wait_for_end(hung[0])


@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_cannot_start() -> None:
    with ray_pool(FakeFactory(faults={"start": "settings"})) as pool, pytest.raises(RunError) as caught:
        list(pool.run(candidates(2)))
    assert "the workers cannot start: on " in str(caught.value)
    assert "no such model: 'absent'" in str(caught.value)
    with (
        ray_pool(FakeFactory(faults={"start": "crash"}), workers=1) as pool,
        pytest.raises(RunError) as caught,
    ):
        list(pool.run(candidates(2)))
    assert "no worker can be started: the worker's process or machine has gone" in str(caught.value)


@pytest.mark.usefixtures("ray_cluster")
def test_more_than_any_machine_has_is_refused_at_once() -> None:
    with (
        pytest.raises(RunError, match="asks for 500 CPUs and 0 GPUs on one machine"),
        ray_pool(FakeFactory(), cpus=500.0),
    ):
        pass


def test_a_node_that_goes_and_one_that_comes(ray_cluster: Any, tmp_path: Path) -> None:
    """Workers ask for all CPUs of a machine, so that each one is on its own; `0` takes what there is."""
    second = ray_cluster.add_node(num_cpus=4, object_store_memory=100 * 2**20)
    third: list[Any] = []

    def processes() -> set[str]:
        return {process for *_, process in visits(tmp_path)}

    def asked() -> Iterator[Candidate]:
        """As many as it takes until a worker on the machine that came has had one, and some more."""
        yield from candidates(40)
        for each in candidates(2000, first=40):
            if len(processes()) >= 3:
                break
            yield each
        yield from candidates(10, first=2040)

    try:
        with ray_pool(FakeFactory(str(tmp_path), seconds=0.05), workers=0, cpus=4.0) as pool:
            assert len(pool.workers) == 2
            while any(worker.state == "starting" for worker in pool.workers):
                pool._wait()  # both are there before the run begins
            results = []
            for each, result in pool.run(asked()):
                results.append((each, result))
                if len(results) == 20:
                    assert len(processes()) == 2  # else there is nothing to lose
                    ray_cluster.remove_node(second, allow_graceful=False)
                if len(results) == 24:
                    third.append(ray_cluster.add_node(num_cpus=4, object_store_memory=100 * 2**20))
            assert len(results) >= 50
            assert all(result == expected(each) for each, result in results)
            assert len(processes()) == 3
            assert sum(worker.restarts for worker in pool.workers) >= 1
    finally:
        for node in third:
            ray_cluster.remove_node(node)


@pytest.mark.usefixtures("ray_cluster")
def test_the_log_is_the_same_with_one_worker_with_three_and_with_none(tmp_path: Path) -> None:
    config = toy_settings(generations=4, population=10)

    def run(executor: Executor, path: Path) -> bytes:
        with EvaluationLog(path) as log:
            evolve(config, SHAPE, executor, log, lambda progress: None)
        return path.read_bytes()

    whole = run(LocalExecutor(FakeFactory()()), tmp_path / "local.jsonl")
    assert whole.count(b"\n") == 40
    for workers in (1, 3):
        with ray_pool(FakeFactory(), workers, together=4) as pool:
            assert run(pool, tmp_path / f"{workers}.jsonl") == whole


@pytest.mark.usefixtures("ray_cluster")
def test_actors_end_when_the_run_is_left(tmp_path: Path) -> None:
    factory = FakeFactory(str(tmp_path), seconds=0.05)

    def stopped() -> None:
        with ray_pool(factory) as pool:
            for _ in pool.run(candidates(9)):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    processes = {int(process) for *_, process in visits(tmp_path)}
    assert processes
    for process in processes:
        wait_for_end(process)


def test_an_address_where_nobody_listens_is_one_clear_error() -> None:
    from ecad.execution.on_ray.cluster import joined_cluster

    for address, kind in (("127.0.0.1:1", RunError), ("nonsense", ConfigError), ("a:b", ConfigError)):
        with pytest.raises(kind, match=address), joined_cluster(address):
            pass
