"""`ecad calibrate`, and where its file is taken: schedules, plots."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import ecad
from ecad.cli.main import main
from ecad.schedule import ScheduleShape, load_calibration, load_schedule


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("a large red circle\na green cross\n")
    return path


def test_from_a_model_to_a_schedule_and_a_picture(
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "c.json"
    arguments = ("calibrate", "--model", tiny_folder, "--prompts", prompts, "--steps", 6, "-o", file)
    assert run(monkeypatch, *arguments, "--device", "cpu") == 0
    assert "c.json: pixart, 6 steps, 3 transformer_blocks, 2 prompts" in capsys.readouterr().out
    calibration = load_calibration(file)
    assert calibration.shape == ScheduleShape("pixart", 6, {"transformer_blocks": 3})
    assert calibration.source["images"] == 2

    new = ("schedule", "new", "smooth:0.3", "--model", tiny_folder, "-o", tmp_path / "s.yaml")
    assert run(monkeypatch, *new, "--calibration", file) == 0
    schedule = load_schedule(tmp_path / "s.yaml")
    assert schedule == ecad.heuristic("smooth:0.3", calibration.shape, calibration)
    assert schedule.name == "smooth:0.3"

    pytest.importorskip("matplotlib")
    assert run(monkeypatch, "plot", "--calibration", file) == 0
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_one_line(
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "there.json").write_text("mine")
    cases = {
        (
            "calibrate",
            "--model",
            tiny_folder,
            "--prompts",
            prompts,
            "-o",
            tmp_path / "there.json",
        ): "exists already",
        ("calibrate", "--model", tiny_folder, "--prompts", "absent.txt", "-o", tmp_path / "x"): "absent.txt",
        (
            "schedule",
            "new",
            "smooth:0.1",
            "--model",
            tiny_folder,
            "-o",
            tmp_path / "s.yaml",
        ): "needs a calibration",
        ("plot", "--calibration", tmp_path / "there.json"): "there.json is damaged",
        ("plot", "--calibration", tmp_path / "absent.json"): "cannot read the calibration",
    }
    for arguments, message in cases.items():
        assert run(monkeypatch, *arguments) == 2, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert (tmp_path / "there.json").read_text() == "mine"
