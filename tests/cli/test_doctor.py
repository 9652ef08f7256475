"""`ecad doctor`: which metrics can be used here, and what is missing for the others."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from seeded_weights import write_image_reward_folder

from ecad.cli.main import main
from ecad.scoring import METRICS


@pytest.fixture
def doctor(capsys: Any, monkeypatch: Any) -> Any:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ecad", "doctor", *arguments])
        capsys.readouterr()
        with contextlib.suppress(SystemExit):  # an error would leave nothing that the tests can read
            main()
        return str(capsys.readouterr().out)

    return run


def test_every_metric_is_listed_with_what_is_missing(doctor: Any, tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_image_reward_folder(tmp_path / "weights")
    monkeypatch.setenv("ECAD_IMAGE_REWARD", str(folder))
    monkeypatch.setenv("ECAD_IMAGE_REWARD_PYTHON", str(tmp_path / "python"))
    monkeypatch.setenv("ECAD_INCEPTION", str(tmp_path / "inception.pt"))
    found = {item["name"]: item for item in json.loads(doctor("--json"))["scorers"]}
    assert list(found) == list(METRICS)
    assert found["alignment"]["available"]
    assert found["image-reward"]["available"]
    assert found["image-reward"]["detail"] == f"weights {folder / 'ImageReward.pt'}"
    assert "transformers" in found["image-reward"]["versions"]
    assert not found["image-reward-package"]["available"]
    assert "is no Python interpreter" in found["image-reward-package"]["detail"]
    assert not found["fid"]["available"]
    (folder / "vocab.txt").unlink()
    found = {item["name"]: item for item in json.loads(doctor("--json"))["scorers"]}
    assert not found["image-reward"]["available"]
    assert "has no vocab.txt: put ImageReward.pt" in found["image-reward"]["detail"]


def test_the_table_names_every_metric(doctor: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = doctor()
    for name in METRICS:
        assert f" {name} " in text
    assert "ECAD_IMAGE_REWARD_PYTHON" in text or "runs in" in text
