"""`ecad.evaluate`: the command's results, pipelines and schedules as objects, stopping and going on."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from contracts.toys import Contrast, metric

import ecad
from ecad.cli.main import main
from ecad.evaluating.settings import EvaluateSettings
from ecad.schedule import ScheduleShape, heuristic

SHAPE = ScheduleShape("pixart", 4, {"transformer_blocks": 3})


@pytest.fixture(scope="module", autouse=True)
def _toy_scorer() -> Iterator[None]:
    with metric(Contrast()):
        yield


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "two.txt"
    path.write_text("a large red circle on a gray background\na small blue square on a white background\n")
    return path


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """The log without its times and further timings."""
    records = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    measured = [each for each in records if "timed_again_s" not in each]
    return [{name: value for name, value in each.items() if "seconds" not in name} for each in measured]


def test_it_has_every_setting_of_the_command() -> None:
    parameters = set(inspect.signature(ecad.evaluate).parameters)
    assert {field.name for field in fields(EvaluateSettings)} <= parameters


def test_results_are_those_of_the_command(
    tiny_folder: Path,
    prompts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffusers import DiffusionPipeline

    options = ["--metrics", "contrast", "--prompts", prompts, "--steps", 4, "--samples", 1]
    command = ["ecad", "evaluate", "--model", tiny_folder, "fora:2", "steps:2", *options, "--batch-size", 1]
    command += ["--device", "cpu", "--out", tmp_path / "command"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    with pytest.raises(SystemExit, match="0"):
        main()
    capsys.readouterr()

    seen: list[ecad.EvaluationProgress] = []

    def stop(progress: ecad.EvaluationProgress) -> None:
        seen.append(progress)
        if progress.done == 3:
            raise ecad.StopRun

    pipe = DiffusionPipeline.from_pretrained(tiny_folder)
    fora = heuristic("fora:2", SHAPE).replace(name="mine")
    arguments: dict[str, Any] = {"metrics": "contrast", "prompts": prompts, "steps": 4, "samples": 1}
    arguments |= {"batch_size": 1, "out": tmp_path / "function"}
    stopped = ecad.evaluate(pipe, [fora, "steps:2"], on_batch=stop, **arguments)
    assert not stopped.finished
    assert stopped.rows == ()
    assert [(each.done, each.total) for each in seen] == [(0, 6), (1, 6), (2, 6), (3, 6)]

    result = ecad.evaluate(pipe, [fora, "steps:2"], progress=True, **arguments)
    assert "images: 6/6" in capsys.readouterr().err
    assert result.finished
    assert (result.folder / "report.html").is_file()
    assert [row.name for row in result.rows] == ["uncached", "mine", "steps:2"]
    assert "| mine | schedule |" in result._repr_markdown_()
    renamed = [
        {**each, "row": each["row"].replace("fora:2", "mine")} for each in scores_of(tmp_path / "command")
    ]
    assert scores_of(tmp_path / "function") == renamed


def test_mistakes_are_one_line_and_leave_no_folder(tiny_folder: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ecad.ConfigError, match="no folder for the results"):
        ecad.evaluate(tiny_folder, "fora:2")
    with pytest.raises(ecad.ConfigError, match="has an empty name"):
        ecad.evaluate(tiny_folder, "fora:2", out, metrics=["contrast", ""], prompts=prompts)
    other = heuristic("fora:2", ScheduleShape("pixart", 4, {"transformer_blocks": 28}))
    with pytest.raises(ecad.ScheduleError, match=r"fora:2 \(.*does not fit the model"):
        ecad.evaluate(tiny_folder, other, out, metrics="contrast", prompts=prompts, device="cpu")
    assert not out.exists()
