"""What Ray itself costs the driver per unit: two actors that answer at once, real Ray on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from simulate_driver import SHAPE, InstantEvaluator

from ecad.execution.on_ray.workers import ray_workers
from ecad.execution.pool import WorkerPool
from ecad.genetic import initial_genomes
from ecad.searching.history import make_candidate


@dataclass(frozen=True)
class InstantFactory:
    batches: int = 13
    batch_size: int = 8

    def __call__(self) -> InstantEvaluator:
        return InstantEvaluator(self.batches, self.batch_size)


def main() -> None:
    factory = InstantFactory()
    genomes = initial_genomes(SHAPE, 210, np.random.default_rng(0))
    candidates = [make_candidate(genome, SHAPE, 1, index) for index, genome in enumerate(genomes)]
    with ray_workers(factory, workers=2, address=None, cpus=1.0, gpus=0.0) as transport:
        pool = WorkerPool(transport, factory(), unit_timeout_s=60.0)
        list(pool.run(candidates[:10]))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        list(pool.run(candidates[10:]))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        units = 200 * factory.batches
        print(
            f"{units} units: {1000 * cpu_s / units:.2f} ms of driver CPU each, {units / wall_s:.0f} units/s"
        )


if __name__ == "__main__":
    main()
