"""A terminal without UTF-8 gets plain characters from every command, and never an error."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import ecad
from ecad.cli.terminal import use_plain_characters
from ecad.progress import Progress, Rate
from ecad.report.progress import progress_panel

# Several commands in one process, which spares their imports.
_SCRIPT = """
import shlex, sys
from ecad.cli.main import main
for line in sys.stdin.read().splitlines():
    sys.argv = shlex.split(line)
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    print("exit", code, *sys.argv[1:3], flush=True)
"""


def in_plain_terminal(commands: list[str], folder: Path) -> bytes:
    """Everything that these commands say; each must end without an error."""
    where = Path(ecad.__file__).resolve().parent.parent
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input="\n".join(commands).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=folder,
        env={**os.environ, **plain, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(where)},
    )
    said = done.stdout
    assert done.returncode == 0, said.decode()
    ended = [line for line in said.splitlines() if line.startswith(b"exit ")]
    assert [line.split()[1] for line in ended] == [b"0"] * len(commands), said.decode()
    return said


def test_every_command(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a large red circle on a gray background\n")
    (tmp_path / "b.txt").write_text("a caf\u00e9 \u2192 na\u00efve\n", encoding="utf-8")
    prompts = "--prompts a.txt --heldout-prompts b.txt"
    tiny = f"--model {tiny_folder} --steps 3 --device cpu --batch-size 2"
    said = in_plain_terminal(
        [
            "ecad --help",
            "ecad search --help",
            "ecad models",
            "ecad families",
            "ecad doctor",
            "ecad schedule show pixart-mini/fast",
            f"ecad search {tiny} --generations 1 --population 4 --quality rmse {prompts} --workers none --out run",
            "ecad show run",
            "ecad status run",
            f"ecad evaluate {tiny} fora:2 --metrics rmse,psnr --prompts a.txt --out results --samples 0",
        ],
        tmp_path,
    )
    assert all(byte < 128 for byte in said)
    assert b"Traceback" not in said
    assert b"\\u" not in said  # no escapes in the place of characters
    assert b"+-" in said  # of the half intervals
    assert b"rmse v" in said  # lower is better


def test_what_cannot_be_written_is_replaced_by_something_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    use_plain_characters()
    stream.write("a\u2013b \u00b11 \u2191 \u2581\u2588 caf\u00e9 \u4e2d \udce9")
    stream.flush()
    assert stream.buffer.getvalue() == b"a-b +-1 ^ 1# cafe ? ?"  # type: ignore[attr-defined]


def test_the_panel_of_a_running_search_is_plain() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, force_terminal=True, color_system=None, width=120)
    rate = Rate()
    for number in range(1, 4):
        progress = Progress("search", number, 9, 4, 4, 4 * number, [(0.5, 0.9)], 0.1 * number)
        rate.update(progress, float(number))
    console.print(progress_panel("title", progress, rate))
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "0.3000  148" in text
