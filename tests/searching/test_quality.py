"""Every scorer as the search's quality, on a tiny pipeline: references, signs, and scores that are no numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.toys import metric
from seeded_weights import write_image_reward_folder

from ecad.errors import ScoreError
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings
from ecad.storage import RunFolder


@pytest.fixture(scope="module")
def settings(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("prompts")
    (folder / "search.txt").write_text("a large red circle on a gray background\na small red circle\n")
    (folder / "heldout.txt").write_text("a small circle on a gray background\na large red circle\n")
    return {
        "model": str(tiny_folder),
        "steps": 6,
        "generations": 2,
        "population": 4,
        "prompts": str(folder / "search.txt"),
        "heldout_prompts": str(folder / "heldout.txt"),
        "batch_size": 2,
        "device": "cpu",
        "height": 32,
        "width": 32,
    }


def finished(settings: dict[str, Any], quality: str, folder: Path) -> tuple[dict[str, Any], list[Any]]:
    """The report and the log of a search for this quality."""
    search(SearchSettings.from_mapping({**settings, "quality": quality}), folder)
    text = (folder / "report.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    log = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    return json.loads(text), log


def check_front(folder: Path, report: dict[str, Any], name: str) -> None:
    assert report["quality"] == name
    front = RunFolder.existing(folder).read_front()
    assert front
    assert all(np.isfinite(schedule.provenance["search"][name]) for schedule in front.values())


@pytest.mark.parametrize(("quality", "name", "best"), [("psnr", "-rmse", 0.0), ("ssim", "ssim", 1.0)])
def test_fidelity_to_the_uncached_images(
    settings: dict[str, Any], tmp_path: Path, quality: str, name: str, best: float
) -> None:
    pytest.importorskip("torchmetrics")
    report, log = finished(settings, quality, tmp_path)
    check_front(tmp_path, report, name)
    # The schedule that recomputes everything makes the very same images; all others differ.
    by_cost = sorted(log, key=lambda record: -record["cost"])
    assert by_cost[0]["cost"] == 1.0
    assert by_cost[0]["quality"] == pytest.approx(best)
    assert all(record["quality"] < best for record in by_cost[1:])
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["uncached"]["quality"] == pytest.approx(best)
    assert rows["fora:2"]["quality"] < best


def test_a_distance_is_searched_as_its_negative(settings: dict[str, Any], tmp_path: Path) -> None:
    seen = []

    class Distance:
        name, higher_is_better, needs_reference = "distance", False, True

        def __call__(self, prompts: Sequence[str], images: Any, references: Any = None) -> np.ndarray:
            seen.append(references.shape)
            return np.abs(images.astype(float) - references).mean(axis=(1, 2, 3))

        def check(self, prompts: Sequence[str], height: int, width: int) -> None:
            pass

    with metric(Distance()):
        report, log = finished(settings, "distance", tmp_path)
    check_front(tmp_path, report, "-distance")
    assert max(record["quality"] for record in log) == 0.0
    assert min(record["quality"] for record in log) < 0.0
    assert set(seen) == {(2, 32, 32, 3)}


def test_image_reward_by_its_published_file_format(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("ECAD_IMAGE_REWARD", str(write_image_reward_folder(tmp_path / "weights")))
    report, log = finished(settings, "image-reward", tmp_path / "run")
    check_front(tmp_path / "run", report, "image-reward")
    assert len({record["quality"] for record in log}) > 4
    pytest.importorskip("torchmetrics")
    report, log = finished(settings, "0.5*image-reward+0.01*psnr", tmp_path / "pair")
    check_front(tmp_path / "pair", report, "0.5*image-reward+0.01*psnr")


class NotANumber:
    """Contrast, but NaN (or infinite) for images unlike the uncached ones."""

    name, higher_is_better, needs_reference = "fragile", True, True

    def __init__(self, value: float, always: bool) -> None:
        self.value, self.always = value, always

    def __call__(self, prompts: Sequence[str], images: Any, references: Any = None) -> np.ndarray:
        scores = images.reshape(len(images), -1).std(axis=1)
        changed = np.abs(images.astype(float) - references).mean(axis=(1, 2, 3)) > 0
        return np.where(changed | self.always, self.value, scores)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        pass


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_never_enters_a_front(
    settings: dict[str, Any], tmp_path: Path, caplog: Any, value: float
) -> None:
    with (
        metric(NotANumber(value, False)),
        caplog.at_level(logging.WARNING),
        pytest.raises(ScoreError, match=f"fragile gave {value} for an image by .* of the prompt"),
    ):
        finished(settings, "fragile", tmp_path)
    assert "gave no finite number for 2 of 2 images of schedule" in caplog.text
    log = [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert len(log) == 8
    # Only the schedule that recomputes everything has a quality, and so it is the whole front.
    assert [record["cost"] for record in log if record["quality"] is not None] == [1.0]
    assert [path.stem for path in (tmp_path / "front").glob("*.yaml")] == ["01-1.00x"]


def test_a_scorer_that_cannot_score_the_model_itself_ends_the_search(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with (
        metric(NotANumber(np.nan, True)),
        pytest.raises(
            ScoreError, match=r"fragile gave nan for the uncached image of the prompt 'a large red"
        ),
    ):
        finished(settings, "fragile", tmp_path)
