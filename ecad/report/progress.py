"""How a running search looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ecad.progress import Progress, Rate, WorkerReport

_SPARKS, _ASCII_SPARKS = "▁▂▃▄▅▆▇█", "12345678"
_WIDTH = 40  # of the sparks, in characters


def progress_line(progress: Progress, rate: Rate) -> str:
    """One plain line of text."""
    eta = duration(rate.remaining_s)
    if progress.phase != "search":
        done, total = progress.images
        name = {"held-out": "held-out report"}.get(progress.phase, progress.phase)
        return f"{name}: {done}/{total} images, {rate.per_second:.1f} images/s, {eta} left"
    return (
        f"generation {progress.generation}/{progress.generations}: {progress.evaluations} evaluations, "
        f"{rate.images_per_second:.1f} images/s, hypervolume {progress.hypervolume:.4f}, "
        f"front {len(progress.points)}, {eta} left | {_best_points(progress)}{_worker_rates(progress.workers)}"
    )


def progress_panel(title: str, progress: Progress, rate: Rate) -> Panel:
    """The live panel: bars, rates, hypervolume and the front's best points."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    if progress.phase != "search":
        done, total = progress.images
        table.add_row(progress.phase, ProgressBar(total=total, completed=done, width=50))
        table.add_row("images", f"{done} of {total}   {rate.per_second:.1f} images/s")
    else:
        table.add_row("search", ProgressBar(total=progress.total, completed=progress.done, width=50))
        table.add_row(
            "generation",
            f"{progress.generation} of {progress.generations}   "
            f"candidate {progress.evaluated} of {progress.population}",
        )
        table.add_row("evaluations", f"{progress.evaluations}   {rate.images_per_second:.1f} images/s")
    table.add_row("time left", duration(rate.remaining_s))
    table.add_row("hypervolume", _Hypervolume(progress.hypervolume, tuple(rate.hypervolumes)))
    table.add_row("front", f"{len(progress.points)} schedules   {_best_points(progress)}")
    if progress.workers:
        table.add_row("workers", workers_text(progress.workers))
    if progress.failures:
        table.add_row("failures", f"{progress.failures} candidates could not be evaluated")
    return Panel(Group(table), title=title, title_align="left", width=100)


def _worker_rates(workers: Sequence[WorkerReport], most: int = 8) -> str:
    if not workers:
        return ""
    rates = " ".join(f"{worker.images_per_second:.2f}" for worker in workers[:most])
    return f" | workers {rates}{' ...' if len(workers) > most else ''} images/s"


def workers_text(workers: Sequence[WorkerReport], most: int = 6) -> str:
    """How many workers do what, then the rate and the share of busy time of each; only the slowest if many."""
    states = Counter(worker.state for worker in workers)
    lines = [", ".join(f"{count} {state}" for state, count in states.items())]
    lost = sum(worker.restarts for worker in workers)
    if lost:
        lines[0] += f"; {lost} replaced"
    rated = [worker for worker in workers if worker.place]
    if len(rated) > most:
        rated = sorted(rated, key=lambda worker: worker.images_per_second)[:most]
        lines[0] += "; the slowest:"
    lines += [
        f"{worker.name}: {worker.images_per_second:.2f} images/s, {worker.busy_share:.0%} busy"
        for worker in rated
    ]
    return "\n".join(lines)


def _best_points(progress: Progress) -> str:
    """The best quality at some speedups, as far as the front reaches."""
    parts = []
    for speedup in (1.5, 2.0, 3.0, 4.0, 5.0):
        reachable = [quality for cost, quality in progress.points if cost <= 1.0 / speedup]
        if reachable:
            parts.append(f"{speedup:g}x: {max(reachable):.3f}")
    return "  ".join(parts)


@dataclass(frozen=True)
class _Hypervolume:
    """The number, and a character for each of its latest values: higher is more."""

    value: float
    history: Sequence[float]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sparks = _ASCII_SPARKS if options.ascii_only else _SPARKS
        yield Text(f"{self.value:.4f}  {_sparkline(self.history, sparks)}")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(6, min(8 + _WIDTH, options.max_width))


def _sparkline(values: Sequence[float], sparks: str) -> str:
    values = values[-_WIDTH:]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high <= low:
        return ""
    return "".join(sparks[int((value - low) / (high - low) * (len(sparks) - 1))] for value in values)


def duration(seconds: float | None) -> str:
    """Minutes and seconds, with hours if there are any: 1:02:03; "?" if it is not known."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
