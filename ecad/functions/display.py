"""The live displays of searches and evaluations: panels and bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live

from ecad.progress import Progress, Rate
from ecad.report.progress import progress_line, progress_panel


class SearchDisplay:
    """Shows the progress of a search on standard error; standard output stays free for results."""

    def __init__(self, model: str, folder: Path) -> None:
        self._console = Console(file=sys.stderr)
        self._title = f"ecad search: {model} -> {folder}"
        self._live: Live | None = None
        self._rate = Rate()
        self._last_line = ""
        self._last_share = ("search", 0.0)  # phase, share of its images at the last line

    def __enter__(self) -> SearchDisplay:
        if _is_live(self._console):
            self._live = Live(console=self._console, refresh_per_second=4, transient=False)
            self._live.__enter__()
            self._live.update(f"{self._title}\nloading the model ...")
        else:
            self.say(self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """A line that stays."""
        _say(self._console, line)

    def update(self, progress: Progress) -> None:
        self._rate.update(progress, time.monotonic())
        if self._live is not None:
            self._live.update(progress_panel(self._title, progress, self._rate))
        elif self._is_worth_a_line(progress):
            line = progress_line(progress, self._rate)
            if line != self._last_line:
                self.say(line)
            self._last_line = line

    def _is_worth_a_line(self, progress: Progress) -> bool:
        """Without a terminal: a line per generation, and one per tenth of the later phases' images."""
        if progress.phase == "search":
            return progress.ends_generation
        done, total = progress.images
        phase, share = self._last_share
        if phase == progress.phase and done < total and done / total < share + 0.1:
            return False
        self._last_share = (progress.phase, done / total)
        return True


class EvaluateDisplay:
    """Progress on standard error: bars on a terminal, elsewhere a line per tenth."""

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = console = Console(file=sys.stderr)
        self._title = title
        self._tenths: dict[str, int] = {}
        self._tasks: dict[str, Any] = {}
        self._bars: Bars | None = None
        if _is_live(console):
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )

    def __enter__(self) -> EvaluateDisplay:
        _say(self._console, self._title)
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self, phase: str, done: int, total: int) -> None:
        if self._bars is not None:
            if phase not in self._tasks:
                self._tasks[phase] = self._bars.add_task(phase, total=total)
            self._bars.update(self._tasks[phase], completed=done)
            return
        tenth = 10 * done // max(1, total)
        if tenth > self._tenths.get(phase, -1):
            self._tenths[phase] = tenth
            _say(self._console, f"{phase}: {done}/{total}")


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _is_live(console: Console) -> bool:
    """Whether what is shown can be replaced; in a notebook rich needs ipywidgets for that."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
