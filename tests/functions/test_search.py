"""`ecad.search`: the command's run folder, pipelines as objects, callbacks, stopping and going on."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.toys import Contrast, metric

import ecad
from ecad.cli.main import main
from ecad.functions.planning import SETTING_NAMES
from ecad.schedule import ScheduleShape


@pytest.fixture(scope="module", autouse=True)
def _toy_scorer() -> Iterator[None]:
    with metric(Contrast()):
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All but the model, for two generations of six."""
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "search.txt").write_text("a large red circle on a gray background\n")
    (folder / "heldout.txt").write_text("a small blue square on a white background\n")
    return {
        "steps": 4,
        "generations": 2,
        "population": 6,
        "quality": "contrast",
        "prompts": folder / "search.txt",
        "heldout_prompts": folder / "heldout.txt",
        "batch_size": 2,
        "heldout_seeds_per_prompt": 2,
    }


@pytest.fixture(scope="module")
def pipe(tiny_folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(tiny_folder)


@pytest.fixture(scope="module")
def by_command(tiny_folder: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder that the command makes."""
    out = tmp_path_factory.mktemp("runs") / "command"
    options = [
        text for name, value in settings.items() for text in ("--" + name.replace("_", "-"), str(value))
    ]
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["ecad", "search", "--model", str(tiny_folder), "--device", "cpu", "--out", str(out)]
        patch.setattr(sys, "argv", [*arguments, *options])
        with pytest.raises(SystemExit, match="0"):
            main()
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    """What does not depend on the clock."""
    names = ["config.yaml", "evaluations.jsonl", "history.json", "calibration.json"]
    paths = [*(folder / name for name in names), *sorted((folder / "front").glob("*.yaml"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def without_times(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "report.json").read_text())["rows"]
    return [{name: value for name, value in row.items() if "latency" not in name} for row in rows]


def test_it_has_every_setting_of_the_command() -> None:
    parameters = set(inspect.signature(ecad.search).parameters)
    assert set(SETTING_NAMES) <= parameters
    from ecad.cli.search import search as command

    assert set(inspect.signature(command).parameters) <= parameters


def test_the_run_folder_is_that_of_the_command(
    by_command: Path,
    tiny_folder: Path,
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[ecad.Progress] = []
    ended: list[int] = []
    result = ecad.search(
        tiny_folder,
        tmp_path / "run",
        device="cpu",
        on_evaluation=seen.append,
        on_generation=lambda progress: ended.append(progress.evaluations),
        **settings,
    )
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")  # no progress was asked for
    assert files_of(tmp_path / "run") == files_of(by_command)
    assert without_times(tmp_path / "run") == without_times(by_command)

    assert [each.evaluations for each in seen if each.phase == "search"] == list(range(1, 13))
    assert ended == [6, 12]

    assert result.finished
    assert result.folder == tmp_path / "run"
    assert (result.folder / "report.html").is_file()
    assert result.front
    assert [each.heldout for each in result.front] == [row for row in result.rows if row.kind == "front"]
    assert [each.quality for each in result.front] == sorted(
        (each.quality for each in result.front), reverse=True
    )
    best = result.best(speedup=1.0)
    assert best.digest() == result.front[0].schedule.digest()
    assert best.provenance["heldout"]["speedup_macs"] == result.front[0].heldout.speedup_macs
    assert result.front[0].speedup == pytest.approx(result.front[0].heldout.speedup_macs)
    assert result._repr_markdown_().count("\n| front | 0") == len(result.front)
    with pytest.raises(ecad.ConfigError, match="900x faster"):
        result.best(speedup=900)
    with pytest.raises(ecad.ConfigError, match="by must be macs or latency"):
        result.best(1.0, by="time")  # type: ignore[arg-type]


def test_a_pipeline_object_stopped_by_a_callback_goes_on_to_the_same_log(
    by_command: Path,
    pipe: Any,
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe.set_progress_bar_config(desc="mine")

    def stop(progress: ecad.Progress) -> None:
        raise ecad.StopRun

    out = tmp_path / "run"
    stopped = ecad.search(pipe, out, on_generation=stop, progress=True, **settings)
    assert "generation 1/2: 6 evaluations" in capsys.readouterr().err
    assert not stopped.finished
    assert stopped.rows == ()
    assert all(
        each.schedule.shape == ScheduleShape("pixart", 4, {"transformer_blocks": 3}) for each in stopped.front
    )
    assert [each.quality for each in stopped.front] == sorted(
        (each.quality for each in stopped.front), reverse=True
    )
    log = (by_command / "evaluations.jsonl").read_bytes()
    assert (out / "evaluations.jsonl").read_bytes() == b"".join(log.splitlines(keepends=True)[:6])
    with pytest.raises(ecad.RunError, match="not finished"):
        stopped.best(2.0)
    assert "not finished" in stopped._repr_markdown_()

    # The command line has no such pipeline.
    monkeypatch.setattr(sys, "argv", ["ecad", "search", "--resume", str(out)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "handed over in Python" in capsys.readouterr().err
    with pytest.raises(ecad.ModelError, match="handed over in Python"):
        ecad.search(resume=out)

    result = ecad.search(pipe, resume=out)
    assert (out / "evaluations.jsonl").read_bytes() == log
    assert without_times(out) == without_times(by_command)
    assert pipe._progress_bar_config == {"desc": "mine"}
    assert result.front[0].schedule.model["name"] == "tiny-pixart"
    ecad.apply(pipe, result.front[0].schedule)
    with pytest.raises(ecad.ModelError, match=r"a schedule is applied .*ecad\.remove"):
        ecad.search(pipe, resume=out)
    ecad.remove(pipe)

    scale = pipe.transformer.proj_out.weight
    scale.data.mul_(2.0)
    with pytest.raises(ecad.RunError, match="another one, or its weights are others"):
        ecad.search(pipe, resume=out)
    scale.data.div_(2.0)


def test_a_search_can_be_finished_after_the_generations_that_it_has(
    by_command: Path, tiny_folder: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    def stop(progress: ecad.Progress) -> None:
        if progress.generation == 2:
            raise ecad.StopRun

    long = {**settings, "generations": 5, "device": "cpu"}
    assert not ecad.search(tiny_folder, tmp_path / "run", on_generation=stop, **long).finished
    with pytest.raises(ecad.ConfigError, match="may only grow"):
        ecad.search(resume=tmp_path / "run", generations=1)
    assert ecad.search(resume=tmp_path / "run", generations=2).finished
    assert files_of(tmp_path / "run") == files_of(by_command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 2}, "a pipeline object cannot be searched with workers"),
        ({"ray_address": "auto"}, "a pipeline object cannot be searched with workers"),
        ({"device": "cpu", "dtype": "float32"}, "leave out device, dtype"),
        ({"workers": "many"}, "--workers must be a whole number"),
        ({"population": 1}, "'population' must be"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_no_folder(
    pipe: Any, settings: dict[str, Any], tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ecad.ConfigError, match=message) as error:
        ecad.search(pipe, tmp_path / "run", **{**settings, **arguments})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_pipeline_without_a_transformer_is_refused(tmp_path: Path) -> None:
    class Other:
        transformer = None

    with pytest.raises(ecad.ModelError, match="Other has no diffusion transformer"):
        ecad.search(Other(), tmp_path / "run")  # type: ignore[arg-type]


def test_a_pipeline_that_is_offloaded_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    from accelerate import cpu_offload
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(tiny_folder)
    cpu_offload(pipe.transformer)
    with pytest.raises(ecad.ModelError, match="moves its parts between devices"):
        ecad.search(pipe, tmp_path / "run")
