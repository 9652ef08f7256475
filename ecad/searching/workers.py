"""Where a run's evaluations happen: in this process, or on Ray workers that build the same evaluator."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ecad.devices import choose_device
from ecad.errors import ConfigError
from ecad.execution import ExecutionSettings, Executor, LocalExecutor
from ecad.families import find_model
from ecad.measuring.stored_memory import most_stored_bytes
from ecad.progress import WorkerReport
from ecad.records import Evaluator
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.settings import ResolvedSearchSettings
from ecad.searching.setup import EvaluatorFactory, PreparedRun, family_text

# A device and a number of threads -> what makes an evaluator there
FactoryOn = Callable[[str, int], Callable[[], Evaluator]]

# Beside its GPU a worker needs a core to feed it.
_CPUS_BESIDE_A_GPU = 1.0


# Below so many images a search is over before workers have started.
_FEWEST_IMAGES = 1_000
_MOST_PROCESSES = 8
# Candidates that share their first steps, and more of them where what they keep is at most this share of the memory.
_TOGETHER, _MORE_TOGETHER, _SMALL_SHARE = 4, 8, 0.05
# Each process loads the model; and only small ones have operations that are too small to be split between threads.
_LARGEST_MODEL_BYTES = 100 * 2**20


def default_workers(settings: ResolvedSearchSettings, threads: int | None = None) -> int | None:
    """How many Ray workers serve a search best where none are asked for; None: this process does.

    On a CPU two processes of one thread each do almost twice the work of one process with two threads, for a small
    model. `threads` are those that a run already has in each process.
    """
    is_elsewhere = settings.device_map is not None or choose_device(settings.device).type != "cpu"
    if is_elsewhere or not find_spec("ray"):
        return None
    source = find_model(settings.model)
    if not source.is_local or _bytes_in(Path(source.location)) > _LARGEST_MODEL_BYTES:
        return None
    images = settings.generations * settings.population * (settings.prompts_limit or _FEWEST_IMAGES)
    processes = min(torch.get_num_threads() // (threads or 1), _MOST_PROCESSES)
    return processes if processes > 1 and images >= _FEWEST_IMAGES else None


def default_together(run: PreparedRun) -> int:
    """How many candidates share their first steps where nobody says so: for each a copy of what is stored is kept."""
    itemsize = run.subject.model.pipe.transformer.dtype.itemsize
    copy = most_stored_bytes(run.subject.workload, itemsize) * run.settings.batch_size
    is_small = run.free_bytes is not None and _MORE_TOGETHER * copy <= _SMALL_SHARE * run.free_bytes
    return _MORE_TOGETHER if is_small else _TOGETHER


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Executors:
    """The executors of a run, one after the other: in this process, or on the Ray workers that the settings ask for.

    `on_tick` hears about the workers while they are waited for.
    """

    def __init__(
        self,
        run: PreparedRun,
        settings: ExecutionSettings,
        on_tick: Callable[[Sequence[WorkerReport]], None] = lambda workers: None,
    ) -> None:
        self._run = run
        self._settings = settings
        self._on_tick = on_tick
        self._together = settings.together or default_together(run)
        self._threads = torch.get_num_threads()
        self._device = run.subject.model.device
        self._session: Any = None
        if settings.uses_ray:
            self._session = self._ray_session()

    def __enter__(self) -> Executors:
        return self

    def __exit__(self, *error: object) -> None:
        if self._session is not None:
            self._session.__exit__(*error)

    @contextmanager
    def on(
        self, evaluator: Evaluator, factory_on: FactoryOn | None = None, together: int | None = None
    ) -> Iterator[Executor]:
        """The executor with one of the run's evaluators.

        `factory_on` is for an evaluator that is no `ModelEvaluator`. `together` is instead of the settings'.
        """
        if together is None:
            together = 1 if self._run.settings.summed_runs else self._together
        if self._session is None:
            yield LocalExecutor(evaluator, together, lambda: self._on_tick(()))
            return
        from ecad.execution.pool import WorkerPool

        if factory_on is not None:
            factory = factory_on(self._device.type, self._threads)
        elif isinstance(evaluator, ModelEvaluator):
            factory = EvaluatorFactory(
                self._run.settings,
                evaluator.prompts,
                evaluator.first_seed,
                self._device.type,
                self._threads,
                family_text(self._run.subject.model.family),
                self._run.free_bytes,
            )
        else:
            raise TypeError(f"nothing makes a {type(evaluator).__name__} in another process")
        with (
            _parked(self._run.subject.model.pipe, self._device),
            self._session.transport(factory) as transport,
        ):
            pool: WorkerPool

            def tick() -> None:
                self._on_tick(pool.workers)

            pool = WorkerPool(
                transport,
                evaluator,
                unit_timeout_s=self._settings.unit_timeout_s,
                together=together,
                on_tick=tick,
            )
            yield pool

    def _ray_session(self) -> Any:
        settings, device, wanted = self._settings, self._device, self._run.settings.device
        try:
            from ecad.execution.on_ray.workers import RaySession
        except ImportError:
            raise ConfigError("--workers and --ray-address need Ray: pip install 'ecad[search]'") from None
        if wanted != "auto" and torch.device(wanted).index is not None:
            raise ConfigError(
                f"Ray gives each worker its GPU: use --device {device.type}, not {wanted}, with --workers"
            )
        gpus = settings.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if device.type == "cuda" else 0.0
        if gpus == 0.0 and device.type == "cuda":
            raise ConfigError(
                "--gpus-per-worker 0 leaves the workers without a GPU: use --device cpu as well"
            )
        if gpus > 0.0 and device.type != "cuda":
            raise ConfigError(
                f"--gpus-per-worker {gpus:g} needs --device cuda, the run's device is {device.type}"
            )
        cpus = _CPUS_BESIDE_A_GPU if gpus > 0.0 else float(self._threads)
        return RaySession(workers=settings.workers or 0, address=settings.ray_address, cpus=cpus, gpus=gpus)


@contextmanager
def _parked(pipe: Any, device: torch.device) -> Iterator[None]:
    """Take the driver's own model off the GPU, whose memory the workers need, and bring it back for the report."""
    if device.type != "cuda" or getattr(pipe, "hf_device_map", None):  # one that is spread cannot be moved
        yield
        return
    # Module by module: the pipeline's own `to` warns that half precision does not run on a CPU, which it need not.
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    for module in modules:
        module.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        for module in modules:
            module.to(device)
