"""Workers as Ray actors.

Each actor makes its evaluator once, by a factory that is pickled into Ray's object store, and then scores units.
What goes wrong inside an actor comes back as a word and a line of text, not as a pickled exception, so that
the driver needs nothing that a worker may have in another version.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import ray

from ecad import __version__
from ecad.errors import BrokenWorkerError, EcadError, TransientEvaluationError, describe
from ecad.execution.ledger import Unit
from ecad.execution.on_ray.cluster import check_resources, joined_cluster, own_cluster
from ecad.execution.transport import Event
from ecad.records import Evaluator

EvaluatorFactory = Callable[[], Evaluator]


class _Worker:
    """What runs inside an actor."""

    def __init__(self) -> None:
        self._evaluator: Evaluator | None = None

    def set_up(self, factory: EvaluatorFactory, version: str) -> tuple[str, Any]:
        self._evaluator = None  # its memory is needed for the next
        if version != __version__:
            return "wrong", f"the worker on {socket.gethostname()} has ecad {__version__}, not {version}"
        try:
            self._evaluator = factory()
        except EcadError as error:
            return "wrong", f"on {socket.gethostname()}: {error}"
        return "ready", f"{socket.gethostname()}:{os.getpid()}"

    def score(self, unit: Unit) -> tuple[str, Any]:
        if self._evaluator is None:
            return "broken", "the worker was never set up"
        try:
            return "done", self._evaluator.score_batch(unit.schedules, unit.batch, unit.pieces)
        except TransientEvaluationError as error:
            return "memory", describe(error)
        except BrokenWorkerError as error:
            return "broken", describe(error)
        except Exception as error:
            return "failed", describe(error)


class RayTransport:
    """Carries units to actors of a Ray that is connected; see `ecad.execution.transport.Transport`.

    `workers` 0 means one for each place that the cluster's GPUs (or, without `gpus`, its CPUs) have, also as
    nodes join. `cpus` and `gpus` are what each actor asks for. `spares` are actors of earlier transports, which are
    used before new ones are made.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        *,
        workers: int,
        cpus: float,
        gpus: float,
        spares: list[Any] | None = None,
    ) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._factory = ray.put(factory)
        self._workers = workers
        self._cpus = cpus
        self._gpus = gpus
        self._actor_class = ray.remote(_Worker)
        self._actors: dict[int, Any] = {}
        self._busy: set[int] = set()
        self._spares = [] if spares is None else spares

    def wanted(self) -> int:
        if self._workers > 0:
            return self._workers
        name, share = ("GPU", self._gpus) if self._gpus > 0 else ("CPU", self._cpus)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return max(1, sum(int(resources.get(name, 0.0) / share + 1e-6) for resources in nodes))

    def start(self, worker: int) -> None:
        if self._spares:
            actor = self._spares.pop()
        else:
            actor = self._actor_class.options(
                num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
            ).remote()
        self._actors[worker] = actor
        self._watch(worker, actor.set_up.remote(self._factory, __version__))

    def submit(self, worker: int, unit: Unit) -> None:
        self._watch(worker, self._actors[worker].score.remote(unit))

    def stop(self, worker: int) -> None:
        ray.kill(self._actors.pop(worker), no_restart=True)

    def close(self, keep: bool = False) -> None:
        """End all workers; with `keep` those that have nothing to do become spares."""
        for worker in list(self._actors):
            if keep and worker not in self._busy:
                self._spares.append(self._actors.pop(worker))
                continue
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.stop(worker)

    def _watch(self, worker: int, reference: Any) -> None:
        """Put the outcome into the queue when it comes; that needs no thread and no polling of ours."""

        def report(future: Future[tuple[str, Any]]) -> None:
            self._busy.discard(worker)
            self.events.put(_event(worker, future))

        self._busy.add(worker)
        reference.future().add_done_callback(report)


def _event(worker: int, future: Future[tuple[str, Any]]) -> Event:
    error = future.exception()
    if error is None:
        kind, content = future.result()
        if kind == "done":
            return Event(worker, "done", scores=content)
        return Event(worker, kind, text=content)  # type: ignore[arg-type]
    if isinstance(error, ray.exceptions.RayActorError):
        return Event(worker, "gone", text="the worker's process or machine has gone")
    # Ray's own trouble, such as ecad not being installed there: the reason is the last line of a traceback.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Event(worker, "broken", text=lines[-1] if lines else type(error).__name__)


class RaySession:
    """Transports one after the other on a Ray cluster: the one at `address`, or one of our own on this machine.

    The cluster is there from the first transport on. Actors without a GPU stay from one transport to the next, since
    a new process imports for seconds; those with one make room on it.
    """

    def __init__(self, *, workers: int, address: str | None, cpus: float, gpus: float) -> None:
        self._workers = workers
        self._address = address
        self._cpus = cpus
        self._gpus = gpus
        self._spares: list[Any] = []
        self._stack = contextlib.ExitStack()
        self._is_connected = False

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happened, the actors end, and so does everything of a cluster of our own."""
        while self._spares:
            with contextlib.suppress(Exception):  # the cluster may be gone
                ray.kill(self._spares.pop(), no_restart=True)
        self._stack.close()

    @contextlib.contextmanager
    def transport(self, factory: EvaluatorFactory) -> Iterator[RayTransport]:
        """Workers with what the factory makes."""
        self._connect()
        transport = RayTransport(
            factory, workers=self._workers, cpus=self._cpus, gpus=self._gpus, spares=self._spares
        )
        is_done = False
        try:
            yield transport
            is_done = True
        finally:
            transport.close(keep=is_done and self._gpus == 0.0)

    def _connect(self) -> None:
        if self._is_connected:
            return
        if not ray.is_initialized():  # else by whoever uses us as a library: theirs to end
            own = own_cluster(self._workers, self._cpus, self._gpus)
            self._stack.enter_context(own if self._address is None else joined_cluster(self._address))
        self._is_connected = True
        check_resources(self._cpus, self._gpus)


@contextlib.contextmanager
def ray_workers(
    factory: EvaluatorFactory, *, workers: int, address: str | None, cpus: float, gpus: float
) -> Iterator[RayTransport]:
    """A single transport, see `RaySession`."""
    with (
        RaySession(workers=workers, address=address, cpus=cpus, gpus=gpus) as session,
        session.transport(factory) as transport,
    ):
        yield transport
