"""The commands, and what a user sees when something is wrong: one line, exit code 2, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from ecad.cli.main import main
from ecad.schedule import ScheduleShape, heuristic, load_schedule, save_schedule


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def ecad_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `ecad ARGUMENTS` in this process."""

    def run(*arguments: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["ecad", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def run_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny model, made by the real command in a process of its own."""
    base = tmp_path_factory.mktemp("cli")
    (base / "search.txt").write_text("a large red circle on a gray background\n")
    (base / "heldout.txt").write_text("a small blue square on a white background\n")
    prompts = ("--prompts", base / "search.txt", "--heldout-prompts", base / "heldout.txt")
    arguments = [
        *("search", "--model", tiny_folder, "--steps", 6, "--generations", 2, "--population", 8),
        *("--quality", "alignment", *prompts, "--height", 64, "--width", 64, "--batch-size", 2),
        *("--heldout-seeds-per-prompt", 2, "--device", "cpu", "--workers", "none", "--out", base / "run"),
    ]
    command = [sys.executable, "-m", "ecad.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Without a terminal: plain lines, one per generation, no control characters.
    assert "generation 2/2: 16 evaluations" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "ecad export" in done.stdout
    return base / "run"


def test_show(ecad_command: Command, run_folder: Path) -> None:
    shown = ecad_command("show", run_folder)
    assert shown.code == 0
    for word in ("uncached", "front", "fora:2", "steps:3", "alignment", "hypervolume"):
        assert word in shown.out
    report = json.loads(ecad_command("show", run_folder, "--json").out)
    assert report == json.loads((run_folder / "report.json").read_text())


def test_show_as_markdown(ecad_command: Command, run_folder: Path) -> None:
    text = ecad_command("show", run_folder, "--markdown").out
    report = json.loads((run_folder / "report.json").read_text())
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables[0] == "| kind | schedule | MACs | latency | ms an image | alignment | minus uncached |"
    assert len(tables) == 2 + len(report["rows"]) + 2 + len(report["comparisons"])
    uncached = report["rows"][0]
    low, high = uncached["quality_interval"]
    assert tables[2].startswith("| uncached | uncached | 1.00x | 1.00x | ")
    assert tables[2].endswith(f" | {uncached['quality']:.3f} [{low:.3f}, {high:.3f}] |  |")
    assert "held-out hypervolume (macs): front" in text
    refused = ecad_command("show", run_folder, "--markdown", "--json")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_show_of_an_unfinished_run_is_the_front_so_far(
    ecad_command: Command, run_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / "report.json").unlink()
    (copy / "status.json").unlink()
    log = (copy / "evaluations.jsonl").read_text().splitlines(keepends=True)[:10]
    (copy / "evaluations.jsonl").write_text("".join(log) + '{"torn')
    records = [json.loads(line) for line in log]
    best = max(records, key=lambda record: (record["quality"], -record["cost"]))
    shown = ecad_command("show", copy)
    assert shown.code == 0, shown.err
    assert "not finished: 10 evaluations, in generation 2 of 2" in shown.out
    assert f"ecad search --resume {copy}" in shown.out.replace("\n", " ")
    assert "the numbers promise too much" in shown.out.replace("\n", " ")
    content = json.loads(ecad_command("show", copy, "--json").out)
    assert (content["finished"], content["evaluations"], content["generation"]) == (False, 10, 2)
    assert (content["cost"], content["quality"]) == ("macs", "alignment")
    assert content["front"][0]["quality"] == best["quality"]
    assert content["front"][0]["cost"] == best["cost"]
    costs = [point["cost"] for point in content["front"]]
    assert costs == sorted(costs, reverse=True)
    markdown = ecad_command("show", copy, "--markdown").out
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == 1 + len(costs)
    (copy / "evaluations.jsonl").write_text("")
    assert "not finished: 0 evaluations" in ecad_command("show", copy).out


def test_plot(ecad_command: Command, run_folder: Path, tmp_path: Path) -> None:
    assert ecad_command("plot", run_folder).code == 0
    with Image.open(run_folder / "front.png") as image:
        assert min(image.size) > 500
    assert "<svg" in (run_folder / "front.svg").read_text()
    assert ecad_command("plot", run_folder, "-o", tmp_path / "deep" / "x.pdf").code == 0
    for wrong in (
        ["-o", tmp_path / "x.gif"],
        [run_folder],  # two runs, and no file
        ["--x", "watts"],
        ["--y", "fid"],
        ["--calibration", "--y", "difference"],
    ):
        refused = ecad_command("plot", run_folder, *wrong)
        assert (refused.code, refused.err.count("\n")) == (2, 1), wrong


def test_plot_of_several_and_of_one_that_is_not_finished(
    ecad_command: Command, run_folder: Path, tmp_path: Path
) -> None:
    so_far = tmp_path / "so-far"
    shutil.copytree(run_folder, so_far)
    (so_far / "report.json").unlink()
    plotted = ecad_command("plot", so_far, run_folder, "-o", tmp_path / "both.pdf", "--y", "alignment")
    assert plotted.code == 0, plotted.err
    assert "16 schedules evaluated): the front so far, on the search's own prompts" in plotted.err
    assert (tmp_path / "both.pdf").read_bytes().startswith(b"%PDF")
    alone = ecad_command(
        "plot", run_folder, "--x", "latency", "--y", "difference", "-o", tmp_path / "one.png"
    )
    assert (alone.code, alone.err) == (0, "")


def test_export_and_generate(
    ecad_command: Command, run_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "fast.yaml"
    exported = ecad_command("export", run_folder, "--speedup", 1.0, "-o", target)
    assert exported.code == 0, exported.err
    schedule = load_schedule(target)
    assert schedule.provenance["heldout"]["speedup_macs"] >= 1.0
    again = ecad_command("export", run_folder, "--speedup", 1.0, "-o", target)
    assert again.code == 2
    assert "--force" in again.err
    made = ecad_command(
        *("generate", "--model", tiny_folder, "--schedule", target, "--prompt", "a red circle"),
        *("-o", tmp_path / "out.png", "--repeats", 1, "--device", "cpu"),
    )
    assert made.code == 0, made.err
    assert "uncached" in made.out
    assert "x faster" in made.out
    with Image.open(tmp_path / "out.png") as image:
        assert image.width > 2 * 256


def test_generate_with_a_heuristic(ecad_command: Command, tiny_folder: Path, tmp_path: Path) -> None:
    made = ecad_command(
        *(
            "generate",
            "--model",
            tiny_folder,
            "--schedule",
            "fora:2",
            "--prompt",
            "a red circle",
            "--steps",
            4,
        ),
        *("-o", tmp_path / "out.png", "--repeats", 1, "--device", "cpu"),
    )
    assert made.code == 0, made.err
    assert "fora:2" in made.out


def test_resume_extends(ecad_command: Command, run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    before = (copy / "evaluations.jsonl").read_bytes()
    done = ecad_command("search", "--resume", copy, "--generations", 3)
    assert done.code == 0, done.err
    after = (copy / "evaluations.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 24


def test_models_and_version(ecad_command: Command) -> None:
    listed = ecad_command("models")
    assert listed.code == 0
    for name in ("pixart-mini", "pixart-alpha-1024", "pixart-sigma"):
        assert name in listed.out
    assert ecad_command("--version").out.startswith("ecad 0.")


def wrong_inputs(folder: Path, run: Path, model: Path) -> dict[str, tuple[list[Any], str]]:
    """Name -> (arguments, what the one line must contain)."""
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "config.yaml").write_text("model: pixart-mini\npopulatoin: 3\n")
    (folder / "torn.yaml").write_text((run / "front").glob("*.yaml").__next__().read_text()[:300])
    (folder / "evil.yaml").write_text("!!python/object/apply:os.system ['touch owned']\n")
    (folder / "huge.yaml").write_text("# " + "x" * 5_000_000)
    big = heuristic("fora:2", ScheduleShape("pixart", 20, {"transformer_blocks": 28}))
    save_schedule(big, folder / "big.yaml")
    (folder / "old").mkdir()
    (folder / "old" / "config.yaml").write_text("ecad_run: 99\n")
    (folder / "astronaut.txt").write_text("an astronaut on a horse\n")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.yaml").write_text("ecad_run: 1\n")
    (folder / "damaged" / "report.json").write_text('{"ecad_report": 77}')
    generate = ["generate", "--prompt", "x", "-o", folder / "no.png", "--model"]
    return {
        "unknown model": (["search", "--model", "pixart-mimi"], "did you mean 'pixart-mini'"),
        "no model": (["search"], "--model"),
        "zero prompts": (
            ["search", "--model", "pixart-mini", "--prompts", folder / "empty.txt"],
            "no prompts",
        ),
        "no prompt file": (["search", "--model", "pixart-mini", "--prompts", "nope.txt"], "nope.txt"),
        "unknown setting": (["search", "--config", folder / "config.yaml"], "did you mean 'population'"),
        "wrong value": (["search", "--model", "pixart-mini", "--population", 1], "'population' must be"),
        "wrong choice": (["search", "--model", "pixart-mini", "--cost", "time"], "macs, latency"),
        "unknown quality": (["search", "--model", "pixart-mini", "--quality", "beauty"], "beauty"),
        "resume of nothing": (["search", "--resume", folder / "absent"], "not a run folder"),
        "resume with settings": (["search", "--resume", run, "--seed", 3], "--seed"),
        "resume with fewer generations": (["search", "--resume", run, "--generations", 1], "only grow"),
        "other settings": (
            [
                "search",
                "--model",
                model,
                "--seed",
                9,
                "--out",
                run,
                "--quality",
                "alignment",
                "--prompts",
                run.parent / "search.txt",
                "--heldout-prompts",
                run.parent / "heldout.txt",
            ],
            "other settings",
        ),
        "run of another version": (["show", folder / "old"], "run format 99"),
        "show of nothing": (["show", folder / "absent"], "not a run folder"),
        "plot of nothing": (["plot", folder / "absent"], "not a run folder"),
        "speedup out of reach": (["export", run, "--speedup", 900, "-o", folder / "x.yaml"], "fastest is"),
        "no schedule file": ([*generate, model, "--schedule", "absent.yaml"], "absent.yaml"),
        "truncated schedule": ([*generate, model, "--schedule", folder / "torn.yaml"], "torn.yaml"),
        "malicious schedule": ([*generate, model, "--schedule", folder / "evil.yaml"], "evil.yaml"),
        "oversized schedule": ([*generate, model, "--schedule", folder / "huge.yaml"], "huge.yaml"),
        "schedule of another model": ([*generate, model, "--schedule", folder / "big.yaml"], "28"),
        "schedule of other steps": (
            [*generate, model, "--schedule", folder / "big.yaml", "--steps", 7],
            "for 20 steps, --steps is 7",
        ),
        "unknown image format": (
            ["generate", "--prompt", "x", "-o", "x.xyz", "--schedule", "fora:2", "--model", model],
            "x.xyz",
        ),
        "odd size": ([*generate, model, "--schedule", "fora:2", "--height", 30], "multiple of 4"),
        "empty prompt": (
            ["generate", "--prompt", " ", "--schedule", "fora:2", "--model", model],
            "prompt is empty",
        ),
        "caption that cannot be judged": (
            ["search", "--model", "pixart-mini", "--heldout-prompts", folder / "astronaut.txt"],
            "astronaut",
        ),
        "config is a folder": (["search", "--config", folder], "cannot read the config"),
        "long names": (["search", "--model", "x" * 300], "cannot read the model"),
        "no such user": (
            ["search", "--model", "pixart-mini", "--prompts", "~nobody-at-all/x"],
            "cannot read",
        ),
        "damaged report": (["show", folder / "damaged"], "report.json"),
        "model folder without a model": (
            [*generate, folder, "--schedule", "fora:2"],
            "not a diffusers pipeline",
        ),
    }


def test_wrong_input_is_one_line_and_exit_code_2(
    ecad_command: Command,
    run_folder: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {
        path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file() and path.name != ".lock"
    }
    for name, (arguments, expected) in wrong_inputs(tmp_path, run_folder, tiny_folder).items():
        result = ecad_command(*arguments)
        last = result.err.strip().splitlines()[-1]
        assert result.code == 2, (name, result)
        assert last.startswith("error: "), (name, result.err)
        assert expected in last, (name, last)
        assert "Traceback" not in result.err, (name, result.err)
        assert sum(line.startswith("error:") for line in result.err.splitlines()) == 1, (name, result.err)
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "no.png").exists()
    after = {
        path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert after == before


def test_a_folder_in_use_is_refused(ecad_command: Command, run_folder: Path) -> None:
    from ecad.storage import RunFolder

    with RunFolder(run_folder):
        result = ecad_command("search", "--resume", run_folder)
    assert result.code == 2
    assert "in use by another process" in result.err


def test_an_unknown_option_is_exit_code_2(ecad_command: Command) -> None:
    result = ecad_command("search", "--modle", "pixart-mini")
    assert result.code == 2
    assert "--modle" in result.err
