"""A whole search without a model, in a process that a test may kill: fake_search.py FOLDER WORKERS SECONDS [KILLS].

With WORKERS 0 in this process, else on so many Ray workers. With KILLS the search runs in child processes, of
which so many are killed at random moments before one may run to its end; prints how many and how far they got.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from contracts.fake_evaluator import SHAPE, FakeFactory
from contracts.toys import toy_settings

from ecad.execution import Executor, LocalExecutor
from ecad.execution.pool import WorkerPool
from ecad.genetic import nondominated
from ecad.searching.run import evolve
from ecad.storage import RunFolder, StatusFile

ADDRESS = "FAKE_SEARCH_RAY_ADDRESS"  # of a cluster to join, if set
CONFIG = toy_settings(generations=12, population=12)  # more than twenty kills take, where a disk is fast


def fake_search(path: Path, workers: int, seconds: float) -> None:
    factory = FakeFactory(seconds=seconds)
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(path))
        status = stack.enter_context(StatusFile(path))
        folder.write_config({"settings": CONFIG.identity()})
        executor: Executor = LocalExecutor(factory(), together=3)
        if workers:
            from ecad.execution.on_ray.workers import ray_workers

            transport = stack.enter_context(
                ray_workers(factory, workers=workers, address=os.environ.get(ADDRESS), cpus=1.0, gpus=0.0)
            )
            executor = WorkerPool(transport, factory(), unit_timeout_s=60.0, together=3)
        history = evolve(CONFIG, SHAPE, executor, folder.log, status.update)
        evaluations = [folder.log[each.key] for each in history.candidates]
        front = nondominated([each.cost for each in evaluations], [each.quality for each in evaluations])
        folder.write_front({f"{index:03d}": history.candidates[index].schedule for index in front})
        status.finish()


def killed_searches(path: Path, seconds: float, kills: int) -> list[int]:
    """Evaluations in the log at each kill: a few more than at the last one, at any point of the next one.

    Each child kills itself from a thread of its own: on a busy machine another process would come too late, again
    and again, and the search would be over before its time.
    """
    import ecad.genetic.nsga2  # noqa: F401  # here, not in every child

    rng = np.random.default_rng(11)
    reached: list[int] = []
    while True:
        wanted = (reached[-1] if reached else 0) + int(rng.integers(1, 4))
        delay = float(rng.uniform(0.0, 0.004))
        child = os.fork()
        if child == 0:
            if len(reached) < kills:
                threading.Thread(target=_killed_at, args=(path, wanted, delay), daemon=True).start()
            fake_search(path, 0, seconds)
            os._exit(0)
        _, result = os.waitpid(child, 0)
        if os.WIFEXITED(result):
            return reached if os.WEXITSTATUS(result) == 0 else []
        reached.append(RunFolder(path).count_evaluations())


def _killed_at(path: Path, evaluations: int, delay_s: float) -> None:
    log = path / "evaluations.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < evaluations:
        time.sleep(0.0002)
    time.sleep(delay_s)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    target, count, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    if len(sys.argv) > 4:
        sys.stdout.write(" ".join(map(str, killed_searches(target, pause, int(sys.argv[4])))))
    else:
        fake_search(target, count, pause)
