"""The whole of `ecad evaluate` on a tiny model: its table, stopping and continuing, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import Contrast, metric
from diffusers import LMSDiscreteScheduler
from filelock import FileLock
from PIL import Image
from tiny_stable_diffusion import save_tiny_stable_diffusion

from ecad.errors import ConfigError, RunError, ScheduleError
from ecad.evaluating.run import evaluate
from ecad.evaluating.settings import EvaluateSettings
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import uncached_macs
from ecad.measuring.statistics import mean_interval, paired_interval
from ecad.sampling.generation import ModelChoice
from ecad.sampling.recording import calibrate
from ecad.sampling.subject import prepare_subject
from ecad.schedule import ScheduleShape, heuristic, load_calibration, load_schedule, save_schedule

SHAPE = ScheduleShape("pixart", 4, {"transformer_blocks": 3})
RANDOM = heuristic("random:0.4:1", SHAPE).replace(
    provenance={"search": {"prompts": "mine"}}, name="not the file's name"
)


class Error:
    """Mean absolute difference to the uncached image."""

    name, higher_is_better, needs_reference = "error", False, True

    def __call__(self, prompts: Sequence[str], images: np.ndarray, references: Any = None) -> np.ndarray:
        assert references.shape == images.shape
        return np.abs(images.astype(float) - references).mean(axis=(1, 2, 3))

    def check(self, prompts: Sequence[str], height: int, width: int) -> None: ...


class MeanColour:
    name, higher_is_better, features_name = "mean-colour", False, "colours"

    def features(self, images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2)).astype(np.float32)

    def distance(self, features: np.ndarray, reference: Any) -> float:
        return float(np.abs(features.mean(axis=0) - np.asarray(reference).mean(axis=0)).sum())


@pytest.fixture(scope="module", autouse=True)
def _toy_metrics() -> Iterator[None]:
    """The tiny model draws noise, so any deterministic scores will do."""
    with metric(Contrast()), metric(Error()), metric(MeanColour(), judges="set"):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "mine.txt").write_text("a red circle\na blue square\na red circle\na green cross | \n")
    save_schedule(RANDOM, folder / "random.yaml")
    (folder / "reference").mkdir()
    for index in range(3):
        Image.new("RGB", (8, 8), (40 * index, 0, 90)).save(folder / "reference" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def settings(base: Path, tiny_folder: Path) -> EvaluateSettings:
    return EvaluateSettings(
        model=str(tiny_folder),
        schedules=("all", "fora:2", str(base / "random.yaml"), "steps:2", "fora:2"),
        prompts=str(base / "mine.txt"),
        metrics=("error", "contrast", "mean-colour"),
        reference=str(base / "reference"),
        seeds=2,
        batch_size=4,
        device="cpu",
        samples=2,
    )


@pytest.fixture(scope="module")
def finished(settings: EvaluateSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "finished"
    results = evaluate(settings, folder).to_json()
    assert results == json.loads((folder / "results.json").read_text())
    return folder


def reproducible(folder: Path) -> dict[str, Any]:
    """All results without the times."""
    results = json.loads((folder / "results.json").read_text())
    for row in results["rows"]:
        for name in ("latency_s", "speedup_latency", "speedup_latency_range", "latency_spread"):
            del row[name]
    return {**results, "grid": (folder / "grid.png").read_bytes()}


def test_a_scheduler_whose_clean_sample_is_not_known_is_refused_before_anything(
    settings: EvaluateSettings, tiny_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    LMSDiscreteScheduler().save_pretrained(model / "scheduler")
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(
        json.dumps({**index, "scheduler": ["diffusers", "LMSDiscreteScheduler"]})
    )
    changed = replace(settings, model=str(model), schedules=("fora:2", "denoised:0,2"))
    with pytest.raises(ScheduleError, match="not known for LMSDiscreteScheduler"):
        evaluate(changed, tmp_path / "out")
    assert not (tmp_path / "out" / "scores.jsonl").exists()


def test_rows(finished: Path, tiny_folder: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert [(row["name"], row["kind"], row["steps"]) for row in results["rows"]] == [
        ("uncached", "uncached", 4),  # the steps of the only schedule file
        ("all", "heuristic", 4),
        ("fora:2", "heuristic", 4),  # given twice, once in the table
        ("random", "schedule", 4),
        ("steps:2", "fewer-steps", 2),
    ]
    workload = workload_for(find_model(str(tiny_folder)), has_guidance_rows=True)
    assert rows["uncached"]["macs"] == uncached_macs(4, workload)
    assert rows["steps:2"]["macs"] == uncached_macs(2, workload)
    assert rows["steps:2"]["speedup_macs"] == 2.0
    assert rows["uncached"]["speedup_latency_range"] == [1.0, 1.0]
    assert {name: row["identical_to_uncached"] for name, row in rows.items()} == {
        "uncached": True,
        "all": True,
        "fora:2": False,
        "random": False,
        "steps:2": False,
    }
    assert all(row["peak_memory_bytes"] is None for row in rows.values())  # no GPU here
    assert results["images_per_row"] == 6
    assert results["prompts"]["left_out"] == {"duplicated": 1}
    assert results["prompts"]["cut_by_the_text_encoder"] == 0
    assert results["notes"] == [
        "random: found by a search on these prompts (mine), so their quality here is flattered"
    ]


def test_rows_at_chosen_noise_levels(settings: EvaluateSettings, finished: Path, tmp_path: Path) -> None:
    wanted = replace(
        settings,
        schedules=("steps:0,1", "steps:2", "steps:0,1,2,3"),
        steps=4,
        metrics=("error",),
        reference=None,
    )
    results = evaluate(wanted, tmp_path / "out").to_json()
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["uncached", "steps:0,1", "steps:2"]  # all levels are the uncached model
    assert {rows[name]["kind"] for name in ("steps:0,1", "steps:2")} == {"fewer-steps"}
    assert rows["steps:0,1"]["steps"] == 2
    assert rows["steps:0,1"]["macs"] == rows["steps:2"]["macs"]
    errors = {name: row["metrics"]["error"]["quality"] for name, row in rows.items() if name != "uncached"}
    known = {row["name"]: row for row in json.loads((finished / "results.json").read_text())["rows"]}
    assert errors["steps:2"] == known["steps:2"]["metrics"]["error"]["quality"]
    assert 0 < errors["steps:0,1"] != errors["steps:2"]


def test_smooth_needs_a_calibration_and_keeps_it(
    settings: EvaluateSettings, tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = replace(settings, schedules=("smooth:0.2",), metrics=("error",), reference=None)
    # The tiny model has no prompts of its own for one, and those that it is judged on do not count.
    with pytest.raises(ConfigError, match="has no default prompts for one: make it with ecad calibrate"):
        evaluate(wanted, tmp_path / "out")
    assert not (tmp_path / "out" / "environment.json").exists()
    choice = ModelChoice(str(tiny_folder), "cpu", embedding_cache=False)
    subject = prepare_subject(choice, settings.overrides)
    calibration = calibrate(subject, ["a large red circle"], batch_size=1)
    calibration.save(tmp_path / "c.json")
    given = replace(wanted, calibration=str(tmp_path / "c.json"))
    rows = {row["name"]: row for row in evaluate(given, tmp_path / "out").to_json()["rows"]}
    assert rows["smooth:0.2"]["kind"] == "heuristic"
    kept = load_calibration(tmp_path / "out" / "calibration.json")
    assert np.array_equal(kept.output, calibration.output)
    assert "--calibration" not in caplog.text
    # Of another origin it is taken with a warning.
    replace(calibration, source={**calibration.source, "guidance_scale": 9.0}).save(tmp_path / "c.json")
    evaluate(given, tmp_path / "other")
    assert (
        f"--calibration {tmp_path / 'c.json'}: it was made with guidance_scale 9.0 (here 4.5)" in caplog.text
    )


def test_numbers_are_those_of_the_log(finished: Path, base: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    records = [json.loads(line) for line in (finished / "scores.jsonl").read_text().splitlines()]
    records = [record for record in records if "scores" in record]  # the others are further timings
    assert [metric["name"] for metric in results["metrics"]] == ["error", "contrast", "mean-colour"]

    def scores(row: str, metric: str) -> np.ndarray:
        own = sorted((each["batch"], each["scores"][metric]) for each in records if each["row"] == row)
        return np.concatenate([values for _, values in own])

    uncached = scores("uncached", "contrast")
    assert len(uncached) == 6
    for row in results["rows"]:
        contrast = row["metrics"]["contrast"]
        mean = mean_interval(scores(row["name"], "contrast"), 2)
        paired = paired_interval(scores(row["name"], "contrast"), uncached, 2)
        assert (contrast["quality"], *contrast["quality_interval"]) == tuple(mean)
        assert (contrast["difference"], *contrast["difference_interval"]) == tuple(paired)
        if row["name"] == "uncached":
            assert "error" not in row["metrics"]  # of itself to itself
        else:
            assert "difference" not in row["metrics"]["error"]
    rows = {row["name"]: row["metrics"] for row in results["rows"]}
    assert rows["all"]["error"]["quality"] == 0.0
    assert rows["fora:2"]["error"]["quality"] > 0.0
    # A metric of the whole set: one number, from the features of all images.
    features = [np.load(path) for path in sorted(finished.glob("features/colours/02-fora-2/*.npy"))]
    assert [part.shape for part in features] == [(4, 3), (2, 3)]
    expected = np.abs(np.concatenate(features).mean(axis=0) - [40, 0, 90]).sum()
    assert rows["fora:2"]["mean-colour"]["quality"] == pytest.approx(expected, rel=1e-6)
    assert rows["all"]["mean-colour"]["difference"] == 0.0
    assert "quality_interval" not in rows["all"]["mean-colour"]


def test_metrics_of_the_same_features_compute_them_once(
    settings: EvaluateSettings, finished: Path, tmp_path: Path
) -> None:
    judged: list[int] = []

    class SetMetric(MeanColour):
        def __init__(self, name: str) -> None:
            self.name = name

        def features(self, images: np.ndarray) -> np.ndarray:
            judged.append(len(images))
            return super().features(images)

    with metric(SetMetric("one"), judges="set"), metric(SetMetric("two"), judges="set"):
        wanted = replace(settings, schedules=("fora:2",), steps=4, metrics=("one", "two"))
        results = evaluate(wanted, tmp_path / "out").to_json()
    # The reference's three pictures once, each metric's try on two gray images, and two rows of six images.
    assert sum(judged) == 3 + 2 * 2 + 2 * 6
    rows = {row["name"]: row["metrics"] for row in results["rows"]}
    known = {
        row["name"]: row["metrics"] for row in json.loads((finished / "results.json").read_text())["rows"]
    }
    assert rows["fora:2"]["one"] == rows["fora:2"]["two"] == known["fora:2"]["mean-colour"]


def test_files(finished: Path) -> None:
    table = list(csv.DictReader((finished / "results.csv").open()))
    results = json.loads((finished / "results.json").read_text())
    assert [line["name"] for line in table] == [row["name"] for row in results["rows"]]
    assert float(table[2]["contrast"]) == results["rows"][2]["metrics"]["contrast"]["quality"]
    assert table[0]["error"] == ""
    text = (finished / "results.md").read_text()
    header = next(line for line in text.splitlines() if line.startswith("| row"))
    for heading in ("error ↓", "contrast ↑", "mean-colour ↓", "ms per image", "latency speedup"):
        assert heading in header
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 5
    assert {line.count(" | ") for line in (lines[0], *lines[2:])} == {lines[0].count(" | ")}
    with Image.open(finished / "grid.png") as grid:
        # Five rows of two images of 16 x 16 pixels, enlarged eight times.
        assert grid.size == (150 + 2 * (128 + 8), 8 + 3 * 16 + 5 * (128 + 8))
        pixel = grid.getpixel((150 + 64, 8 + 3 * 16 + 64))
        with Image.open(next(finished.glob("samples/00-uncached/000-*.png"))) as sample:
            assert pixel == sample.getpixel((8, 8))
    assert len(list(finished.glob("samples/*/*.png"))) == 10
    assert [(each["prompt"], each["seed"] % 2) for each in results["samples"]] == [
        ("a red circle", results["first_seed"] % 2),
        ("a blue square", results["first_seed"] % 2),
    ]
    names = {row["name"]: place for place, row in enumerate(results["rows"])}
    stored = load_schedule(finished / "schedules" / f"{names['random']:02d}-random.yaml")
    assert stored.digest() == RANDOM.digest()
    assert set(results["rows"][0]["paper_s"]) == {"A6000", "H100"}


@pytest.mark.parametrize("stop_after", [4, 20])
def test_a_stopped_evaluation_continues_to_the_same_numbers(
    settings: EvaluateSettings, finished: Path, tmp_path: Path, stop_after: int
) -> None:
    def stop(phase: str, done: int, total: int) -> None:
        if phase == "images" and done >= stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(settings, tmp_path / "out", stop)
    log = tmp_path / "out" / "scores.jsonl"
    before = log.read_bytes()
    assert before.count(b"\n") > 0
    log.write_bytes(before + b'{"row": "uncac')  # the process was killed while it wrote
    evaluate(settings, tmp_path / "out")
    assert reproducible(tmp_path / "out") == reproducible(finished)
    assert log.read_bytes().startswith(before)  # what was measured stays, with its latencies


def test_a_finished_evaluation_is_not_made_again(settings: EvaluateSettings, finished: Path) -> None:
    before = (finished / "scores.jsonl").read_bytes(), (finished / "results.json").read_bytes()
    evaluate(settings, finished)
    assert ((finished / "scores.jsonl").read_bytes(), (finished / "results.json").read_bytes()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds per_prompt: 2 there, 1 now"),
        ({"metrics": ("contrast", "mean-colour")}, "3 metrics there, 2 now|metrics 1"),
        ({"schedules": ("fora:2", "steps:3"), "steps": 4}, "rows 2 name: 'all' there, 'fora:2' now"),
        ({"prompts_limit": 2}, "prompts count: 3 there, 2 now"),
        ({"steps": 6}, "model steps: 4 there, 6 now"),
        ({"guidance_scale": 2.0}, "model guidance_scale: 4.5 there, 2.0 now"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    settings: EvaluateSettings, finished: Path, change: dict[str, Any], message: str
) -> None:
    before = (finished / "scores.jsonl").read_bytes()
    with pytest.raises(RunError, match=f"other settings .*({message}).*use another --out"):
        evaluate(replace(settings, **change), finished)
    assert (finished / "scores.jsonl").read_bytes() == before


def test_a_folder_in_use_and_foreign_folders_are_refused(
    settings: EvaluateSettings, finished: Path, tmp_path: Path
) -> None:
    with FileLock(finished / ".lock"), pytest.raises(RunError, match="in use by another process"):
        evaluate(settings, finished)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("ecad_run: 1\n")
    with pytest.raises(RunError, match="is not an evaluation folder"):
        evaluate(settings, tmp_path / "run")
    shutil.copytree(finished, tmp_path / "lost")
    (tmp_path / "lost" / "scores.jsonl").unlink()
    with pytest.raises(RunError, match=r"its scores\.jsonl is lost"):
        evaluate(settings, tmp_path / "lost")
    shutil.copytree(finished, tmp_path / "damaged")
    (tmp_path / "damaged" / "scores.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"scores\.jsonl is damaged"):
        evaluate(settings, tmp_path / "damaged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": None}, "'mean-colour' compares with a reference set: give --reference"),
        ({"metrics": ("contrast",)}, "--reference is for metrics of a whole set"),
        ({"metrics": ("beauty",), "reference": None}, "unknown quality 'beauty'"),
        ({"metrics": ("contrast", "contrast"), "reference": None}, "'contrast' is given twice"),
        ({"metrics": None}, "no default for --metrics: give --metrics"),
        ({"prompts_format": "jsonl"}, "line 1 is not valid JSON"),
        ({"prompts": "nowhere.txt"}, "no prompt file 'nowhere.txt'"),
        ({"schedules": ("fora:0",)}, "0 is outside 1 to 20"),
        ({"schedules": ("steps:none",)}, "whole number from 1 to 1000, for example steps:12"),
        ({"schedules": ("nothing",)}, "no schedule file 'nothing'"),
        ({"schedules": ("pixart-alpha/fora-2",)}, "pixart-alpha/fora-2 does not fit the model.*28 transformer_blocks"),
        ({"baselines": ("nowhere",)}, "cannot load the baseline nowhere"),
        ({"baselines": ("x:step=1",)}, "unknown setting 'step', known are steps"),
        ({"batch_size": 0}, "batch size must be at least 1, not 0"),
        ({"guidance_scale": -1.0}, "guidance scale must be a number from 0 up, not -1.0"),
    ],
)  # fmt: skip
def test_mistakes_are_named_and_cost_nothing(
    settings: EvaluateSettings, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ScheduleError, Exception), match=message) as caught:
        evaluate(replace(settings, **change), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_unjudgeable_prompts_are_found_before_any_image(settings: EvaluateSettings, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("unjudgeable\n")
    with pytest.raises(ConfigError, match="cannot judge this"):
        evaluate(replace(settings, prompts=str(tmp_path / "prompts.txt")), tmp_path / "out")


def test_a_broken_reference_image_shows_before_any_image_is_made(
    settings: EvaluateSettings, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(base / "reference", tmp_path / "reference")
    (tmp_path / "reference" / "1.png").write_bytes(b"no image")
    broken = replace(settings, reference=str(tmp_path / "reference"))
    with pytest.raises(ConfigError, match=r"cannot read the picture .*1\.png"):
        evaluate(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_pipelines_are_rows_of_the_same_table(settings: EvaluateSettings, tmp_path: Path) -> None:
    other = save_tiny_stable_diffusion(tmp_path)
    with_baselines = replace(
        settings,
        schedules=("steps:2",),
        steps=4,
        baselines=(f"{other}:steps=1,name=student", f"{other}:steps=3"),
    )
    results = evaluate(with_baselines, tmp_path / "out").to_json()
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["uncached", "steps:2", "student (1 step)", "tiny-sd (3 steps)"]
    student, slower = rows["student (1 step)"], rows["tiny-sd (3 steps)"]
    assert (student["kind"], student["steps"]) == ("baseline", 1)
    assert slower["macs"] == 3 * student["macs"]
    assert student["speedup_macs"] == rows["uncached"]["macs"] / student["macs"]
    assert student["latency_s"] > 0.0
    # Scored like the others, but it is no attempt at the uncached images.
    assert set(student["metrics"]) == {"contrast", "mean-colour"}
    assert "difference_interval" in student["metrics"]["contrast"]
    assert any("baselines are other models" in note for note in results["notes"])
    # From the log alone, without a call: also the MACs.
    assert evaluate(with_baselines, tmp_path / "out").to_json() == results
    with pytest.raises(RunError, match=r"other settings \(rows 3 name"):
        evaluate(replace(with_baselines, baselines=(f"{other}:steps=2",)), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"two rows would be called 'tiny-sd \(1 step\)'"):
        evaluate(
            replace(with_baselines, baselines=(f"{other}:steps=1", f"{other}:steps=1,guidance_scale=0")),
            tmp_path / "twice",
        )
