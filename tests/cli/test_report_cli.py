"""`ecad report`, and the page at the end of a search and of an evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contracts.made_run import made_run, made_unfinished_run

from ecad.cli.main import main
from ecad.cli.report import write_report

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ecad_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def without_vega(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where vl-convert is not installed."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        "ecad.functions.extras.find_spec", lambda name: None if name == "vl_convert" else found(name)
    )


def test_it_writes_the_page_where_it_is_told(ecad_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    run = made_run(tmp_path / "run")
    assert ecad_command("report", run) == (0, f"{run / 'report.html'}\n", "")
    out = tmp_path / "new" / "page.html"
    assert ecad_command("report", run, "-o", out)[0] == 0
    assert out.read_bytes() == (run / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "page.pdf"], "cannot write the page to page.pdf: the name must end in .html"),
        (["--serve", "-o", "page.html"], "--serve writes no file: leave out --out"),
        (["--port", "80"], "--port is for --serve"),
    ],
)
def test_what_does_not_go_together(
    ecad_command: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    code, _, error = ecad_command("report", made_unfinished_run(tmp_path / "run"), *arguments)
    assert (code, error) == (2, f"error: {message}\n")


def test_a_folder_that_is_no_run(ecad_command: Command, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    code, _, error = ecad_command("report", tmp_path)
    assert code == 2
    assert error.startswith(f"error: {tmp_path} is neither a run folder nor one of ecad evaluate")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("without_vega")
def test_without_vega(
    ecad_command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = made_run(tmp_path / "run")
    code, _, error = ecad_command("report", run)
    assert (code, error) == (2, "error: this needs vl_convert: pip install 'ecad[search]'\n")
    # A search's results are there all the same: it does not fail.
    write_report(run)
    assert capsys.readouterr().out == ""
    assert caplog.messages == ["no page: this needs vl_convert: pip install 'ecad[search]'"]
    assert not (run / "report.html").exists()
