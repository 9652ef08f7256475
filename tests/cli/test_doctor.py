"""`ecad doctor`: which metrics can be used here, and what is missing for the others."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from seeded_weights import write_image_reward_folder

import ecad
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


def test_the_machine_is_described(doctor: Any, tmp_path: Path, monkeypatch: Any) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho Chromium 123.4\n")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    facts = json.loads(doctor("--json"))
    assert facts["versions"]["ecad"] == ecad.__version__
    assert facts["versions"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert {"python", "diffusers", "transformers", "pymoo", "ray"} <= set(facts["versions"])
    assert "cores" in facts["devices"]["cpu"]
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert facts["disk"]["runs"]["folder"] == str(Path.cwd())
    assert facts["disk"]["runs"]["free"] > 0
    assert facts["hub"] == {"address": "https://hub.example", "offline": False}
    assert facts["ray"]["address"] == "head:6379"
    assert facts["browser"] == {"path": str(browser), "version": "Chromium 123.4"}
    browser.unlink()
    text = doctor()
    for words in ("no Chromium", "GB free", "head:6379", "https://hub.example", "diffusers"):
        assert words in text
