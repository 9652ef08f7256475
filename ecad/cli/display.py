"""The live display of a search: a panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live

from ecad.config import SearchConfig
from ecad.records import Progress
from ecad.report.progress import Rate, progress_line, progress_panel


class SearchDisplay:
    """Shows the progress of a search on standard error; standard output stays free for results."""

    def __init__(self, config: SearchConfig, folder: Path) -> None:
        self._console = Console(file=sys.stderr)
        self._title = f"ecad search: {config.model} -> {folder}"
        self._live: Live | None = None
        self._rate = Rate()
        self._last_line = ""
        self._last_share = ("search", 0.0)  # phase, share of its images at the last line

    def __enter__(self) -> SearchDisplay:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=False)
            self._live.__enter__()
            self._live.update(f"{self._title}\nloading the model ...")
        else:
            print(self._title, file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def update(self, progress: Progress) -> None:
        self._rate.update(progress, time.monotonic())
        if self._live is not None:
            self._live.update(progress_panel(self._title, progress, self._rate))
        elif self._is_worth_a_line(progress):
            line = progress_line(progress, self._rate)
            if line != self._last_line:
                print(line, file=sys.stderr, flush=True)
            self._last_line = line

    def _is_worth_a_line(self, progress: Progress) -> bool:
        """Without a terminal: a line per generation, and one per tenth of the later phases' images."""
        if progress.phase == "search":
            return progress.evaluated == progress.population
        done, total = progress.images
        phase, share = self._last_share
        if phase == progress.phase and done < total and done / total < share + 0.1:
            return False
        self._last_share = (progress.phase, done / total)
        return True
