"""`ecad evaluate` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ecad.cli.main import main


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any
) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `ecad ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "two.txt"
    path.write_text("a large red circle on a gray background\na small blue square on a white background\n")
    return path


def test_a_table_of_schedules(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
) -> None:
    arguments = ["evaluate", "--model", tiny_folder, "fora:2", "steps:3", "--prompts", prompts]
    arguments += ["--metrics", "alignment", "--steps", 6, "--height", 64, "--width", 64, "--seeds", 2]
    arguments += ["--device", "cpu", "--out", tmp_path / "out", "--samples", 1]
    code, out, err = command(capsys, monkeypatch, *arguments)
    assert code == 0, err
    for word in ("uncached", "fora:2", "steps:3", "alignment ↑", "minus", "2 prompts of two (text"):
        assert word in out
    assert "images: 12/12" in err
    assert "\x1b" not in out + err  # no terminal, no control characters
    assert sorted(path.name for path in (tmp_path / "out").glob("results.*")) == [
        "results.csv",
        "results.json",
        "results.md",
    ]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["uncached", "fora:2", "steps:3"]

    code, _, err = command(capsys, monkeypatch, *arguments, "--batch-size", 1)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ")
    assert "other settings (batch_size: 8 there, 1 now)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "beauty"], "unknown quality 'beauty'"),
        (["--metrics", "alignment,"], "has an empty name"),
        (["--metrics", "alignment", "--prompts", "{}/x.json"], "x.json: is JSON, but no prompt format"),
        (["--metrics", "alignment", "--prompts", "{}/none.txt"], "'none' has no prompts"),
        (["fora:zero"], "expected a whole number, got 'zero'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    (tmp_path / "none.txt").write_text("# nothing\n")
    given = [text.format(tmp_path) for text in arguments]
    for option, value in (("--metrics", "alignment"), ("--prompts", str(prompts))):
        if option not in given:
            given += [option, value]
    code, _, err = command(
        *(capsys, monkeypatch, "evaluate", "--model", tiny_folder, *given),
        *("--device", "cpu", "--height", 64, "--width", 64, "--out", tmp_path / "out"),
    )
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(errors)) == (2, 1)
    assert message in errors[0]
    assert err.splitlines()[-1] == errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pixart_mini_in_a_process_of_its_own(tmp_path: Path) -> None:
    arguments = ["evaluate", "--model", "pixart-mini", "pixart-mini/fast", "fora:3", "steps:10"]
    arguments += ["--prompts-limit", "2", "--device", "cpu", "--out", str(tmp_path / "out"), "--samples", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "ecad.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [metric["name"] for metric in results["metrics"]] == ["alignment"]  # the mini's own
    assert results["prompts"]["name"] == "scenes-heldout"
    rows = {row["name"]: row for row in results["rows"]}
    assert set(rows) == {"uncached", "pixart-mini/fast", "fora:3", "steps:10"}
    assert rows["steps:10"]["speedup_macs"] == pytest.approx(2.0)
    assert 0.0 < rows["uncached"]["metrics"]["alignment"]["quality"] <= 1.0
    assert (tmp_path / "out" / "grid.png").stat().st_size > 1000


def test_every_command_that_reads_prompts_can_be_told_their_format(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
) -> None:
    """That it arrives is seen by the file being refused as what it is not."""
    of_search = ["--quality", "alignment", "--heldout-prompts", "scenes-heldout"]
    for name, more in (("evaluate", ["--metrics", "alignment"]), ("calibrate", []), ("search", of_search)):
        arguments = [name, "--model", tiny_folder, "--prompts", prompts, "--out", tmp_path / name, *more]
        code, _, err = command(capsys, monkeypatch, *arguments, "--prompts-format", "jsonl")
        assert code == 2
        assert f"{prompts}: is read as JSON Lines, but line 1 is not valid JSON" in " ".join(err.split())
    code, _, err = command(
        capsys, monkeypatch, *arguments, "--heldout-prompts-format", "csv", "--prompts-format", "txt"
    )
    assert code == 2
    assert "none of its columns" in err


def test_half_an_emoji_on_the_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["generate", "--model", "pixart-mini", "--schedule", "fora:2", "--prompt", "a cat \udc9f"]
    code, _, err = command(capsys, monkeypatch, *arguments)
    assert code == 2
    assert "half a character" in err
