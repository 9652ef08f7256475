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

from ecad.atomic import write_text
from ecad.progress import Progress, Rate

STATUS_NAME = "status.json"
_INTERVAL_S = 1.0
_MOST_FAILURES = 20


class StatusFile:
    """Rewrites status.json at most once a second. A disk that is full or slow does not stop the search."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / STATUS_NAME
        self._clock = clock
        self._rate = Rate()
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
        if self._content["state"] != "finished" and "phase" in self._content:
            self._content["state"] = "stopped"
            self._write()

    def update(self, progress: Progress, failures: Sequence[tuple[str, str]] = ()) -> None:
        """Take over what is known now; `failures` are (key, reason) of candidates that failed."""
        self._rate.update(progress, self._clock())
        self._content.update(
            state=progress.phase,
            phase=progress.phase,  # stays when the state becomes "stopped" or "finished"
            generation=progress.generation,
            generations=progress.generations,
            evaluated=progress.evaluated,
            population=progress.population,
            evaluations=progress.evaluations,
            images=list(progress.images),
            images_per_second=self._rate.images_per_second,
            remaining_s=self._rate.remaining_s,
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
        # Not durable, unlike results: after a crash of the machine there is no status to be had.
        with contextlib.suppress(OSError):
            text = json.dumps(content, indent=1, allow_nan=False) + "\n"
            write_text(self._path, text, durable=False)
