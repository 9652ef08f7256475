"""status.json: how a running search stands, for `ecad status` in another terminal. Never part of the results."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from ecad.records import Progress
from ecad.storage.rate import RateWindow

STATUS_NAME = "status.json"
_INTERVAL_S = 1.0
_MOST_FAILURES = 20


class StatusFile:
    """Rewrites status.json at most once a second. A disk that is full or slow does not stop the search."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / STATUS_NAME
        self._clock = clock
        self._window = RateWindow()
        self._phase = ""
        self._written_s = -math.inf
        self._content: dict[str, Any] = {}

    def __enter__(self) -> StatusFile:
        self._content = {
            "state": "preparing",
            "process": os.getpid(),
            "host": socket.gethostname(),
            "started": self._clock(),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._content["state"] != "finished" and self._phase:
            self._content["state"] = "stopped"
            self._write()

    def update(self, progress: Progress, failures: Sequence[tuple[str, str]] = ()) -> None:
        """Take over what is known now; `failures` are (key, reason) of candidates that failed."""
        now_s = self._clock()
        done = progress.evaluations if progress.phase == "search" else progress.images[0]
        if progress.phase != self._phase:
            self._window.clear()
            self._phase = progress.phase
        self._window.add(now_s, done)
        per_second = self._window.per_second
        if progress.phase != "search":
            left = progress.images[1] - progress.images[0]
        else:
            done_before = (progress.generation - 1) * progress.population
            left = progress.generations * progress.population - done_before - progress.evaluated
        images = progress.images_per_evaluation if progress.phase == "search" else 1
        self._content.update(
            state=progress.phase,
            phase=progress.phase,  # stays when the state becomes "stopped" or "finished"
            generation=progress.generation,
            generations=progress.generations,
            evaluated=progress.evaluated,
            population=progress.population,
            evaluations=progress.evaluations,
            images=list(progress.images),
            images_per_second=per_second * images,
            remaining_s=left / per_second if per_second > 0.0 else None,
            hypervolume=progress.hypervolume,
            front=[list(point) for point in progress.points],
            workers=[asdict(worker) for worker in progress.workers],
            failures=[{"key": key, "reason": reason} for key, reason in failures[-_MOST_FAILURES:]],
            failure_count=len(failures),
        )
        self.still_alive()

    def still_alive(self, workers: Sequence[Any] | None = None) -> None:
        """Note the time, and the workers if given, although there is no new result."""
        if workers is not None:
            self._content["workers"] = [asdict(worker) for worker in workers]
        if self._clock() - self._written_s >= _INTERVAL_S:
            self._write()

    def finish(self) -> None:
        self._content.update(state="finished", remaining_s=0.0)
        self._write()

    def _write(self) -> None:
        self._written_s = self._clock()
        content = {**self._content, "updated": self._written_s}
        # No fsync, unlike results: after a crash of the machine there is no status to be had.
        with contextlib.suppress(OSError):
            temporary = self._path.with_name(self._path.name + ".tmp")
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            temporary.replace(self._path)
