"""Evaluations per second in this process and on 1, 2, ... Ray workers, each process with the same threads.

The start (Ray, loading the model) is left out: every worker has evaluated something before the clock starts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from ecad.execution import ExecutionSettings
from ecad.genetic import initial_genomes
from ecad.searching.history import make_candidate
from ecad.searching.settings import SearchSettings
from ecad.searching.setup import prepare
from ecad.searching.workers import Executors
from ecad.storage import RunFolder


def measure(config: SearchSettings, execution: ExecutionSettings, count: int) -> float:
    """Evaluations per second of `count` candidates."""
    with tempfile.TemporaryDirectory() as path, RunFolder(Path(path)) as folder:
        run = prepare(folder, config, False, execution)
        warmups = 2 * max(1, execution.workers or 1)
        genomes = initial_genomes(run.shape, count + warmups, np.random.default_rng(0))
        candidates = [make_candidate(genome, run.shape, 1, index) for index, genome in enumerate(genomes)]
        with Executors(run, execution) as executors, executors.on(run.evaluator) as executor:
            while any(worker.images == 0 for worker in executor.workers) or warmups:
                list(executor.run(candidates[:1] if warmups == 0 else candidates[count:]))
                warmups = 0
            start_s = time.perf_counter()
            list(executor.run(candidates[:count]))
            return count / (time.perf_counter() - start_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pixart-mini")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--candidates", type=int, default=24)
    options = parser.parse_args()
    config = SearchSettings.from_mapping({"model": options.model, "device": options.device}).resolved()
    local = 0.0
    print("| where | evaluations per second | ratio to local |\n|---|---|---|")
    for workers in (None, *options.workers):
        execution = ExecutionSettings(workers=workers, threads=options.threads)
        rate = measure(config, execution, options.candidates)
        local = local or rate
        where = "local" if workers is None else f"{workers} workers"
        print(f"| {where} | {rate:.3f} | {rate / local:.2f} |", flush=True)


if __name__ == "__main__":
    main()
