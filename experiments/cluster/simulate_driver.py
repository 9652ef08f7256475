"""How much of the driver one evaluation costs, and how busy it keeps many workers. No model, no Ray, no GPU.

Workers live in virtual time (ecad.execution.simulated), the driver is the real one: NSGA-II, the ledger, the
pool, the log with its fsync. Prints one line per setting.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecad.execution.pool import WorkerPool
from ecad.execution.simulated import SimulatedTransport, unequal
from ecad.records import BatchScores, Candidate, Evaluation
from ecad.schedule import Schedule, ScheduleShape
from ecad.searching.run import evolve
from ecad.searching.settings import SearchSettings
from ecad.searching.steady import evolve_steadily
from ecad.storage import EvaluationLog

SHAPE = ScheduleShape("pixart", 20, {"transformer_blocks": 28})


_SETTINGS = (
    (8, 24, 1.0),
    (8, 24, 0.25),
    (64, 24, 1.0),
    (64, 72, 1.0),
    (64, 72, 0.25),
    (512, 72, 1.0),
    (512, 500, 1.0),
)


class InstantEvaluator:
    """Scores without computing: the share that the schedule recomputes."""

    def __init__(self, batches: int, batch_size: int) -> None:
        self.batches = batches
        self.batch_size = batch_size

    def score_batch(self, schedules: Sequence[Schedule], batch: int, pieces: int = 1) -> BatchScores:
        return tuple((schedule.recompute_fraction(),) * self.batch_size for schedule in schedules)

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        flat = tuple(score for batch in scores for score in batch)
        quality = float(np.mean(flat))
        return Evaluation(candidate.key, candidate.schedule.recompute_fraction(), quality**0.5, flat, 0)


def simulate(workers: int, population: int, unit_s: float, slow: float, asynchronous: bool) -> str:
    """One search of some 1,000 evaluations; every fourth worker has the speed `slow`, the others 1."""
    evaluator = InstantEvaluator(batches=13, batch_size=8)
    transport = SimulatedTransport(evaluator, workers, unequal([1.0, 1.0, 1.0, slow], unit_s))
    pool = WorkerPool(transport, evaluator, unit_timeout_s=1e9, clock=transport.clock)
    config = SearchSettings(model="simulated", generations=max(2, 1000 // population), population=population)
    loop = evolve_steadily if asynchronous else evolve
    with tempfile.TemporaryDirectory() as folder, EvaluationLog(Path(folder) / "log.jsonl") as log:
        start_s = time.process_time()
        loop(config, SHAPE, pool, log, lambda progress: None)
        cpu_s = time.process_time() - start_s
        count = len(log)
    mode = "asynchronous" if asynchronous else "generations"
    return (
        f"| {workers} | {population} | {slow:g} | {mode} | {count / cpu_s:.0f} | {cpu_s / transport.now_s:.1%} | "
        f"{transport.utilisation():.0%} | {transport.now_s / 60:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unit-s", type=float, default=8.0, help="seconds of a batch without caching")
    unit_s = parser.parse_args().unit_s
    columns = (
        "workers",
        "population",
        "slow workers' speed",
        "mode",
        "evaluations per driver CPU second",
        "driver CPU share",
        "workers busy",
        "search, minutes",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for workers, population, slow in _SETTINGS:
        for asynchronous in (False, True):
            print(simulate(workers, population, unit_s, slow, asynchronous), flush=True)


if __name__ == "__main__":
    main()
