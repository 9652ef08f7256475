"""`ecad report`: a run, or an evaluation, as one page for a browser."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.cli.extras import need
from ecad.errors import ConfigError
from ecad.functions.page import PACKAGES, page_at_the_end


def report(
    folder: Path = typer.Argument(help="Run folder, or folder of ecad evaluate."),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="HTML file. [default: report.html in the folder]"
    ),
    serve: bool = typer.Option(
        False,
        "--serve",
        help="Show it in a browser of this machine and follow a running search; Ctrl-C ends it.",
    ),
    port: int | None = typer.Option(None, min=0, max=65535, help="Of --serve. [default: any free one]"),
) -> None:
    """Write a page to look at: front, images beside the uncached ones, heatmaps, schedules to download.

    One file that needs no network. Of an unfinished search it shows the front so far.

    \b
    Examples:
      ecad report runs/pixart-mini
      ecad report runs/pixart-mini -o front.html
      ecad report --serve runs/pixart-mini
    """
    need(*PACKAGES)
    if serve and out is not None:
        raise ConfigError("--serve writes no file: leave out --out")
    if port is not None and not serve:
        raise ConfigError("--port is for --serve")
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"cannot write the page to {out}: the name must end in .html")
    if serve:
        _serve(folder, port or 0)
        return
    from ecad.report.page.build import write_page

    print(write_page(folder, out))


def _serve(folder: Path, port: int) -> None:
    from ecad.report.page.live import live_server

    with live_server(folder, port) as server:
        host, number = server.server_address[:2]
        print(f"http://{host!s}:{number}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def write_report(folder: Path) -> None:
    """At the end of a search or an evaluation: write the page and say where it is."""
    page = page_at_the_end(folder)
    if page is not None:
        print(f"page: {page}")
