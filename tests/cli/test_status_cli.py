"""`ecad status`, and the options of `ecad search` that say where evaluations run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecad.cli.main import main
from ecad.progress import Progress, Rate, WorkerReport
from ecad.report.progress import progress_line
from ecad.storage import RunFolder, StatusFile

Command = Callable[..., tuple[int, str, str]]
WORKERS = (
    WorkerReport("1", "busy", "one:7", 40, 2.0, 0.5, 0),
    WorkerReport("2", "busy", "two:8", 10, 0.5, 1.0, 2),
    WorkerReport("3", "starting", "", 0, 0.0, 0.0, 0),
)


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


def progress(**values: Any) -> Progress:
    defaults: dict[str, Any] = {
        **{"phase": "search", "generation": 3, "generations": 5, "evaluated": 4, "population": 10},
        **{
            "evaluations": 24,
            "points": [(0.25, 0.5)],
            "hypervolume": 0.125,
            "workers": WORKERS,
            "failures": 1,
        },
    }
    return Progress(**{**defaults, **values})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    RunFolder(tmp_path).write_config({"settings": {"model": "pixart-mini"}})
    return tmp_path


def test_a_running_search(ecad_command: Command, folder: Path) -> None:
    status = StatusFile(folder)
    status.__enter__()
    status.update(progress(), [("abc", "ValueError: no")])
    code, out, _ = ecad_command("status", folder)
    assert code == 0
    for text in (
        "pixart-mini, search (process",
        "generation   3 of 5, candidate 4 of 10",
        "hypervolume  0.1250, 1 on the front",
        "2 busy, 1 starting; 2 replaced",
        "1: 2.00 images/s, 50% busy",
        "1 candidates, the last: ValueError: no",
    ):
        assert text in out
    # Killed a while ago: nobody could write that it ended.
    content = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**content, "updated": content["updated"] - 100.0}))
    assert "search, but silent for 10" in ecad_command("status", folder)[1]
    shown = json.loads(ecad_command("status", folder, "--json")[1])
    assert (shown["generation"], shown["logged_evaluations"], shown["failure_count"]) == (3, 0, 1)
    assert 99.0 < shown["silent_s"] < 200.0


def test_states_without_a_running_search(ecad_command: Command, folder: Path) -> None:
    assert "unknown: continue with ecad search --resume" in ecad_command("status", folder)[1]
    with StatusFile(folder) as status:
        status.update(progress(workers=()))
    assert "stopped: continue with ecad search --resume" in ecad_command("status", folder)[1]
    with StatusFile(folder) as status:
        status.update(progress(phase="selection", images=(4, 8)))
        assert "selection    4 of 8 images" in ecad_command("status", folder)[1]
    assert "selection    4 of 8 images" in ecad_command("status", folder)[1]
    with StatusFile(folder) as status:
        status.update(progress(phase="held-out", images=(5, 20)))
        assert "held-out     5 of 20 images" in ecad_command("status", folder)[1]
        status.finish()
    assert "pixart-mini, finished" in ecad_command("status", folder)[1]
    (folder / "status.json").write_text("{")
    assert ecad_command("status", folder)[0] == 2
    code, _, err = ecad_command("status", folder / "absent")
    assert (code, err.count("\n")) == (2, 1)


def test_a_line_of_progress_shows_each_workers_rate() -> None:
    rate = Rate()
    rate.update(progress(), 0.0)
    assert progress_line(progress(), rate).endswith("| workers 2.00 0.50 0.00 images/s")
    assert "workers" not in progress_line(progress(workers=()), rate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "--workers must be a whole number from 1, auto or none, not '0'"),
        (["--workers", "some"], "--workers must be a whole number from 1, auto or none, not 'some'"),
        (["--workers", "2", "--gpus-per-worker", "-1"], "--gpus-per-worker must be from 0 to 64"),
        (["--threads", "0", "--unit-timeout", "0"], "--threads must be at least 1, not 0; --unit-timeout"),
        (["--model", ".."], "gives the run no name: give --out"),
        (["--model", "/"], "gives the run no name: give --out"),
    ],
)
def test_wrong_options_are_one_line(
    ecad_command: Command, options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ecad_command("search", "--model", "pixart-mini", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not list(tmp_path.iterdir())
