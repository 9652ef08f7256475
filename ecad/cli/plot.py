"""`ecad plot`: the front of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.cli.extras import need
from ecad.errors import ConfigError


def plot(
    run: Path = typer.Argument(help="Run folder."),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="PNG or SVG file. [default: front.png and front.svg in the run folder]"
    ),
) -> None:
    """Plot the Pareto front, with the heuristics and the model with fewer steps as other points."""
    need("matplotlib")
    from ecad.report.search_report import SearchReport
    from ecad.storage import RunFolder

    folder = RunFolder.existing(run)
    folder.read_config()
    report = SearchReport.from_json(folder.read_report(), str(run / "report.json"))
    targets = [out] if out is not None else [run / "front.png", run / "front.svg"]
    for target in targets:
        if target.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise ConfigError(f"cannot plot to {target}: the name must end in .png, .svg or .pdf")

    from ecad.report.plots import front_figure

    figure = front_figure(report, folder.search_points())
    for target in targets:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=150)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from None
        print(target)
