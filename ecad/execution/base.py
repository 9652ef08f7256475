"""The protocol between the search loop and whatever evaluates candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ecad.errors import ConfigError
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluation

Outcome = tuple[Candidate, Evaluation]


class Executor(Protocol):
    """Evaluates candidates and yields each one with its evaluation as soon as it is ready, in any order.

    A candidate that cannot be evaluated has an evaluation with a `failure`. The evaluations do not depend on
    the executor, the number of workers or the order in which they finish. Candidates are taken from the
    iterable only when there is a worker for them, so it may be a generator that reacts to earlier results.
    """

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]: ...

    @property
    def workers(self) -> Sequence[WorkerReport]:
        """The workers as they are now; none if everything happens in this process."""


@dataclass(frozen=True)
class ExecutionSettings:
    """How a search is executed. Nothing here but `threads` and `asynchronous` can change what it finds.

    `workers` None evaluates in this process, 0 means as many as the devices allow ("auto"). `threads` counts
    the CPU threads of each process; results may differ in their last bits with it, so a run keeps to one.
    `together` is the number of candidates at most whose common first steps are computed once: it needs the memory
    of so many copies of what is stored, and 1 switches it off; None: what the memory suggests.
    """

    workers: int | None = None
    ray_address: str | None = None
    gpus_per_worker: float | None = None  # None: 1 on a GPU, 0 elsewhere
    threads: int | None = None
    unit_timeout_s: float = 1800.0
    asynchronous: bool = False
    together: int | None = None

    def __post_init__(self) -> None:
        mistakes = []
        if self.workers is not None and self.workers < 0:
            mistakes.append(f"--workers must be a positive number or auto, not {self.workers}")
        if self.gpus_per_worker is not None and not 0.0 <= self.gpus_per_worker <= 64.0:
            mistakes.append(f"--gpus-per-worker must be from 0 to 64, not {self.gpus_per_worker}")
        elif (self.gpus_per_worker or 0.0) > 1.0 and self.gpus_per_worker != int(self.gpus_per_worker or 0):
            mistakes.append(f"--gpus-per-worker above 1 must be whole, not {self.gpus_per_worker}")
        if self.threads is not None and self.threads < 1:
            mistakes.append(f"--threads must be at least 1, not {self.threads}")
        if self.together is not None and self.together < 1:
            mistakes.append(f"--together must be at least 1, not {self.together}")
        if not (math.isfinite(self.unit_timeout_s) and self.unit_timeout_s > 0.0):
            mistakes.append(f"--unit-timeout must be a positive number of seconds, not {self.unit_timeout_s}")
        if mistakes:
            raise ConfigError("; ".join(mistakes))

    @property
    def uses_ray(self) -> bool:
        return self.workers is not None or self.ray_address is not None

    @property
    def local_processes(self) -> int:
        """How many processes evaluate on this machine, where that is known before they start."""
        return 1 if self.ray_address is not None else max(1, self.workers or 1)

    def threads_each(self, here: int) -> int:
        """Threads of each process where `here` threads are usual: they are shared between workers on one machine.

        On a cluster, whose machines are not known, it is one.
        """
        if self.threads is not None:
            return self.threads
        if self.ray_address is not None:
            return 1
        return max(1, here // max(1, self.workers or 1))
