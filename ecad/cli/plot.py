"""`ecad plot`: the front of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ecad.cli.extras import need
from ecad.errors import ConfigError


def plot(
    run: Path = typer.Argument(help="Run folder; with --calibration also a file of ecad calibrate."),
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        help="PNG or SVG file. [default: front.png and front.svg, or calibration.png, in the folder]",
    ),
    calibration: bool = typer.Option(
        False, "--calibration", help="Draw how the outputs change from step to step instead."
    ),
) -> None:
    """Plot the Pareto front, with the heuristics and the model with fewer steps as other points.

    \b
    Examples:
      ecad plot runs/pixart-mini
      ecad plot runs/pixart-mini -o front.pdf
    """
    need("matplotlib")
    draw = _calibration if calibration else _front
    for target in [out] if out is not None else []:
        if target.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise ConfigError(f"cannot plot to {target}: the name must end in .png, .svg or .pdf")
    figure, defaults = draw(run)
    for target in defaults if out is None else [out]:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=150)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None
        print(target)


def _front(run: Path) -> tuple[Any, list[Path]]:
    """The figure, and the files that it goes to where nobody says otherwise."""
    from ecad.report.plots import front_figure
    from ecad.report.search_report import SearchReport
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    report = SearchReport.from_json(folder.read_report(), str(run / "report.json"))
    return front_figure(report, folder.search_points()), [run / "front.png", run / "front.svg"]


def _calibration(run: Path) -> tuple[Any, list[Path]]:
    from ecad.report.plots import calibration_figure
    from ecad.schedule import load_calibration

    path = run / "calibration.json" if run.is_dir() else run
    return calibration_figure(load_calibration(path)), [path.with_suffix(".png")]
