"""`ecad plot`: fronts as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecad.cli.extras import need
from ecad.errors import ConfigError

if TYPE_CHECKING:
    from ecad.report.plot_data import Plotted

_SUFFIXES = (".png", ".svg", ".pdf")


def plot(
    runs: list[Path] = typer.Argument(
        help="Run folders and folders of ecad evaluate; with --calibration one, or a file of ecad calibrate."
    ),
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        help="PNG, SVG or PDF file. [default: front.png and front.svg, or calibration.png, in the folder]",
    ),
    x: str | None = typer.Option(
        None,
        help="speedup (in MACs), latency-speedup, macs (per image), latency (ms per image), or paper:GPU. "
        "[default: both speedups, a panel each]",
    ),
    y: str | None = typer.Option(
        None, help="A metric, difference (to uncached), or difference:METRIC. [default: the first metric]"
    ),
    calibration: bool = typer.Option(
        False, "--calibration", help="Draw how the outputs change from step to step instead."
    ),
) -> None:
    """Plot the Pareto front with its rivals, or several fronts in one plot; of a search that runs the front so far.

    \b
    Examples:
      ecad plot runs/pixart-mini
      ecad plot runs/a runs/b -o fronts.pdf
      ecad plot runs/pixart-mini --x latency --y difference -o front.png
      ecad plot --calibration runs/pixart-mini
    """
    need("matplotlib", "textalloc")
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"cannot plot to {out}: the name must end in {', '.join(_SUFFIXES)}")
    if calibration:
        if len(runs) > 1 or x is not None or y is not None:
            raise ConfigError("--calibration draws one run or file, and has no --x and --y")
        figure, defaults = _calibration(runs[0])
    else:
        figure, defaults = _front(runs, x, y)
    if out is None and len(runs) > 1:
        raise ConfigError("say where the plot of several runs goes, for example -o fronts.pdf")
    for target in defaults if out is None else [out]:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=150)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None
        print(target)


def _front(runs: list[Path], x: str | None, y: str | None) -> tuple[Any, list[Path]]:
    """The figure, and the files that it goes to where nobody says otherwise."""
    from ecad.report.front_plot import front_figure

    names = [run.resolve().name for run in runs]
    sources = [
        _plotted(run, name if names.count(name) == 1 else str(run))
        for run, name in zip(runs, names, strict=True)
    ]
    for run, source in zip(runs, sources, strict=True):
        if source.unfinished:
            typer.echo(f"{run}: {source.unfinished}, on the search's own prompts", err=True)
    return front_figure(sources, x, y), [runs[0] / "front.png", runs[0] / "front.svg"]


def _plotted(run: Path, label: str) -> Plotted:
    """Of a run folder, finished or not, or the folder of an evaluation."""
    from ecad.report.plot_data import of_report, of_results, so_far
    from ecad.report.results import Results
    from ecad.report.search_report import SearchReport
    from ecad.storage import RunFolder
    from ecad.storage.log import read_log
    from ecad.storage.status import STATUS_NAME

    folder = RunFolder(run)
    results = folder.read_json("results.json")
    if results is not None:
        return of_results(label, Results.from_json(results, str(run / "results.json")))
    folder = RunFolder.existing(run)
    config = folder.read_config()
    report = folder.read_json("report.json")
    if report is not None:
        return of_report(
            label, SearchReport.from_json(report, str(run / "report.json")), folder.search_points()
        )
    return so_far(
        label,
        config,
        folder.read_json(STATUS_NAME) or {},
        list(read_log(run / "evaluations.jsonl", scores=False)),
    )


def _calibration(run: Path) -> tuple[Any, list[Path]]:
    from ecad.report.plots import calibration_figure
    from ecad.schedule import load_calibration

    path = run / "calibration.json" if run.is_dir() else run
    return calibration_figure(load_calibration(path)), [path.with_suffix(".png")]
