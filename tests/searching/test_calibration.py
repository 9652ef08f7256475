"""The calibration of a search: made once, kept, given, and where its seeds come from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import Contrast, metric

from ecad.errors import RunError, ScheduleError
from ecad.genetic.seeding import calibrated_schedules, initial_genomes
from ecad.schedule import ScheduleShape, best_masks, from_genome, load_calibration, load_schedule, to_genome
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings
from ecad.storage.log import read_evaluations


@pytest.fixture(scope="module", autouse=True)
def _toy_scorer() -> Iterator[None]:
    with metric(Contrast()):
        yield


@pytest.fixture(scope="module")
def settings(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "search.txt").write_text("a large red circle\na green cross\n")
    (folder / "heldout.txt").write_text("a small blue square on a white background\n")
    return {
        "model": str(tiny_folder),
        "steps": 6,
        "generations": 2,
        "population": 8,
        "quality": "contrast",
        "prompts": str(folder / "search.txt"),
        "heldout_prompts": str(folder / "heldout.txt"),
        "batch_size": 2,
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    search(SearchSettings.from_mapping(settings), folder)
    return folder


def log_of(folder: Path) -> bytes:
    return (folder / "evaluations.jsonl").read_bytes()


def test_it_is_kept_and_gives_seeds(finished: Path) -> None:
    calibration = load_calibration(finished / "calibration.json")
    assert calibration.source["images"] == 2
    asked = {item.key for item in read_evaluations(finished / "evaluations.jsonl")}
    suggested = calibrated_schedules(calibration, 4)
    assert sum(schedule.digest() in asked for schedule in suggested) == len(suggested)


def test_a_given_one_is_used(
    finished: Path, settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With another calibration the search asks for other schedules; with the same one for the same."""
    given = tmp_path / "c.json"
    shutil.copy(finished / "calibration.json", given)
    search(SearchSettings.from_mapping({**settings, "calibration": str(given)}), tmp_path / "same")
    assert log_of(tmp_path / "same") == log_of(finished)
    assert "--calibration" not in caplog.text
    content = json.loads(given.read_text())
    content["output"] = np.array(content["output"])[::-1, ::-1].tolist()  # what changed late changes early
    content["source"].update(model="another", guidance_scale=9.0, scheduler="DDIMScheduler")
    given.write_text(json.dumps(content))
    search(SearchSettings.from_mapping({**settings, "calibration": str(given)}), tmp_path / "other")
    assert log_of(tmp_path / "other") != log_of(finished)
    warnings = [record.getMessage() for record in caplog.records if "--calibration" in record.getMessage()]
    expected = (
        f"--calibration {given}: it was made with model another (here tiny-pixart), guidance_scale 9.0 (here 4.5), "
        "scheduler DDIMScheduler (here DPMSolverMultistepScheduler), and how outputs change may differ here: make one "
        "with ecad calibrate"
    )
    assert warnings == [expected]


def test_one_of_other_steps_is_refused(finished: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    config = {**settings, "steps": 5, "calibration": str(finished / "calibration.json")}
    with pytest.raises(
        ScheduleError, match="calibration is for pixart, 6 steps.*needed is one for pixart, 5"
    ):
        search(SearchSettings.from_mapping(config), tmp_path / "run")


def test_a_lost_one_is_named(finished: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    with pytest.raises(RunError, match="has evaluations but its calibration.json is lost"):
        search(SearchSettings.from_mapping(settings), tmp_path / "run")


def test_a_run_does_not_go_on_with_what_means_something_else(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Its log has genomes, and what is held where the whole output is reused is the calibration's to say."""
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "calibration.json"
    content = json.loads(path.read_text())
    assert content.pop("holds") == "denoised"
    path.write_text(json.dumps(content))
    with pytest.raises(
        RunError, match="hold 'output' .* new ones would hold 'denoised': the model's scheduler"
    ):
        search(SearchSettings.from_mapping(settings), tmp_path / "run")
    assert json.loads(path.read_text()) == content


def test_rivals_of_the_report(finished: Path) -> None:
    """Uneven steps and the same steps as masks, where the calibration would compute and elsewhere; SmoothCache."""
    report = json.loads((finished / "report.json").read_text())
    names = {row["name"]: row for row in report["rows"]}
    masks = best_masks(load_calibration(finished / "calibration.json").output)
    for count in (2, 3):
        steps = ",".join(map(str, masks[count]))
        row = names[f"steps:{steps}"]
        assert (row["kind"], row["steps"]) == ("fewer-steps", count)
        assert row["speedup_macs"] == pytest.approx(6 / count)
    assert any(name.startswith("smooth:") for name in names)
    # The tiny model's solver (DPM-Solver++) interpolates the clean sample, so that is what the search holds.
    assert any(name.startswith("denoised:") and row["kind"] == "heuristic" for name, row in names.items())
    assert not any(name.startswith("output:") for name in names)
    front = [load_schedule(path) for path in (finished / "front").glob("*.yaml")]
    assert {schedule.holds for schedule in front if schedule.reuses_output} == {"denoised"}
    # What is read from the log of an unfinished search, too.
    assert load_calibration(finished / "calibration.json").shape.holds == "denoised"
    hows = {(item["how"], names[item["rival"]]["kind"]) for item in report["comparisons"]}
    assert ("level", "fewer-steps") in hows or not any(
        item["how"] == "level" for item in report["comparisons"]
    )


def test_half_of_the_initial_genomes_are_of_the_calibration(finished: Path) -> None:
    calibration = load_calibration(finished / "calibration.json")
    shape = ScheduleShape("pixart", 6, {"transformer_blocks": 3})
    genomes = initial_genomes(shape, 16, np.random.default_rng(0), calibration=calibration)
    assert len({genome.tobytes() for genome in genomes}) == len(genomes) == 16
    suggested = [to_genome(schedule).tobytes() for schedule in calibrated_schedules(calibration, 8)]
    found = {genome.tobytes() for genome in genomes}
    assert sum(genome in found for genome in suggested) >= 4
    # Nothing finer than asked for.
    for genome in initial_genomes(shape, 12, np.random.default_rng(0), "steps", calibration):
        schedule = from_genome(genome, shape)
        array = schedule.recompute["transformer_blocks"]
        assert (array.all(axis=(1, 2)) | ~array.any(axis=(1, 2))).all()


@pytest.mark.parametrize("steps", [2, 3])
def test_a_search_with_very_few_steps(settings: dict[str, Any], tmp_path: Path, steps: int) -> None:
    """With two there is no way to take fewer."""
    config = SearchSettings.from_mapping({**settings, "steps": steps, "generations": 1, "population": 4})
    search(config, tmp_path / "run")
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["rows"]
    assert len({row["name"] for row in rows}) == len(rows)
    assert any(row["kind"] == "fewer-steps" for row in rows) == (steps == 3)


def test_one_of_an_earlier_start_without_evaluations_is_made_anew(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Nothing was found with it, so the folder may be of other settings now."""
    (tmp_path / "run").mkdir()
    content = json.loads((finished / "calibration.json").read_text())
    content["output"] = np.full((6, 6), 0.5).tolist()
    (tmp_path / "run" / "calibration.json").write_text(json.dumps(content))
    search(SearchSettings.from_mapping(settings), tmp_path / "run")
    assert log_of(tmp_path / "run") == log_of(finished)


def test_a_wrong_file_is_found_before_the_folder_is_changed(settings: dict[str, Any], tmp_path: Path) -> None:
    config = SearchSettings.from_mapping({**settings, "calibration": str(tmp_path / "absent.json")})
    with pytest.raises(ScheduleError, match="cannot read the calibration"):
        search(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
