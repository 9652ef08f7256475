"""`ecad calibrate`, and where its file is taken: schedules, images, plots."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import ecad
from ecad.cli.main import main
from ecad.schedule import Calibration, ScheduleShape, load_calibration, load_schedule


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

    smooth = ("smooth:0.3", "--model", tiny_folder, "--calibration", file)  # and the file's number of steps
    capsys.readouterr()
    assert run(monkeypatch, "schedule", "check", *smooth) == 0
    share = f"{schedule.recompute_fraction():.0%} recomputed"
    assert f"pixart, 6 steps, 3 transformer_blocks, {share}" in capsys.readouterr().out
    assert run(monkeypatch, "schedule", "show", *smooth) == 0
    assert "smooth:0.3" in capsys.readouterr().out
    generate = ("generate", "--prompt", "x", "-o", tmp_path / "x.png", "--repeats", 1, "--device", "cpu")
    assert run(monkeypatch, *generate, "--schedule", *smooth) == 0
    said = capsys.readouterr()
    assert "(smooth:0.3)" in said.out
    assert "note: " not in said.err
    assert run(monkeypatch, *generate, "--schedule", *smooth, "--guidance-scale", 1.5) == 0
    note = f"note: {file}: it was made with guidance_scale 4.5 (here 1.5), and how outputs change may differ"
    assert note in capsys.readouterr().err

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


@pytest.mark.parametrize("command", ["new", "show", "check"])
def test_one_of_another_model_of_equal_blocks_is_noted(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ScheduleShape("pixart", 3, {"transformer_blocks": 28})
    output = np.ones((3, 3))
    components = {name: np.ones((3, *size)) for name, size in shape.array_shapes().items()}
    file = tmp_path / "c.json"
    Calibration(shape, components, output, {"model": "pixart-alpha", "guidance_scale": 9.0}).save(file)
    more = ("--calibration", file, *(("-o", tmp_path / "s.yaml", "--force") if command == "new" else ()))
    for model, noted in (("pixart-alpha", False), ("pixart-sigma", True)):
        assert run(monkeypatch, "schedule", command, "smooth:0.3", "--model", model, *more) == 0
        said = capsys.readouterr().err
        assert (
            f"note: {file}: it was made with model pixart-alpha (here pixart-sigma), and" in said
        ) == noted


@pytest.mark.parametrize("command", [("schedule", "show"), ("schedule", "check"), ("generate", "--schedule")])
def test_without_one_its_command_is_named(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a model is loaded, too."""
    prompt = ("--prompt", "x") if command[0] == "generate" else ()
    assert run(monkeypatch, *command, "smooth:0.2", "--model", "pixart-alpha", *prompt) == 2
    assert capsys.readouterr().err == (
        "error: 'smooth:0.2' needs a calibration: make one with ecad calibrate --model MODEL -o FILE, and give "
        "--calibration FILE\n"
    )


def test_check_says_in_json_what_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ("schedule", "check", "smooth:0.2", "--model", "pixart-alpha", "--json")
    assert run(monkeypatch, *check, "--calibration", tmp_path / "absent.json") == 2
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is False
    assert "cannot read the calibration" in found["error"]


def test_a_schedule_for_which_a_calibration_is_made_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same as with a file of `ecad calibrate`, which has as many prompts of the same set."""
    model = ("--model", "flux-mini", "--steps", 3)
    new = ("schedule", "new", "smooth:0.3", *model)
    assert run(monkeypatch, *new, "-o", tmp_path / "now.yaml") == 0
    assert "one is made, on 8 prompts of scenes-search" in capsys.readouterr().err
    assert run(monkeypatch, "calibrate", *model, "-o", tmp_path / "c.json") == 0
    file = ("--calibration", tmp_path / "c.json")
    assert run(monkeypatch, *new, *file, "-o", tmp_path / "file.yaml") == 0
    assert (tmp_path / "now.yaml").read_bytes() == (tmp_path / "file.yaml").read_bytes()
    # A wrong number is known before the model is loaded.
    monkeypatch.setattr("ecad.sampling.subject.prepare_subject", None)
    assert run(monkeypatch, "schedule", "new", "smooth:x", *model, "-o", tmp_path / "x.yaml") == 2
    assert "ALPHA must be a number from 0 on" in capsys.readouterr().err
