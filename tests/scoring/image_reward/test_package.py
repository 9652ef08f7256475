"""The original package in a process of its own: a real subprocess, with a stand-in for the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.scorer import ScorerContract

from ecad.errors import ConfigError, ScoreError
from ecad.scoring import make_scorer

# Like the package, it prints to standard output, imports a `clip` of its own, and scores one PIL image at a time.
STAND_IN = """
import os
import clip
import numpy as np

class Model:
    def __init__(self, name, options):
        self.offset = len(name) + (100 if "med_config" in options else 0)

    def score(self, prompt, image):
        print("scoring", prompt)
        if prompt == "fail":
            raise ValueError("cannot\\nscore this")
        if prompt == "die":
            os._exit(3)
        pixels = np.asarray(image, dtype=np.float64)
        return float(pixels[..., 0].mean() - pixels[..., 2].mean() + len(prompt) / 10 + clip.MARK)

def load(name, **options):
    print("load checkpoint from", name)
    return Model(name, options)
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    (folder / "ImageReward").mkdir()
    (folder / "ImageReward" / "__init__.py").write_text(STAND_IN)
    (folder / "clip.py").write_text("MARK = 0.5\n")
    return folder


@pytest.fixture(scope="module")
def scorer(stand_in: Path) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PYTHONPATH", str(stand_in) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        monkeypatch.delenv("ECAD_IMAGE_REWARD", raising=False)
        made = make_scorer("image-reward-package", python=sys.executable)
        made.check([], 64, 64)
        yield made
    made.close()


class TestPackagedImageReward(ScorerContract):
    tolerance = 1e-12

    @pytest.fixture
    def scorer(self, scorer: Any) -> Any:
        return scorer


def test_the_images_arrive_as_they_are(scorer: Any) -> None:
    images = np.zeros((2, 3, 5, 3), np.uint8)
    images[0, ..., 0], images[1, ..., 2] = 200, 100
    np.testing.assert_allclose(scorer(["ab", "abcd"], images), [200 + 0.2 + 0.5, -100 + 0.4 + 0.5])
    assert set(scorer.versions) == {"image-reward", "torch"}


def test_a_failure_of_the_package_is_one_line_and_not_the_end(scorer: Any) -> None:
    images = np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(
        ScoreError, match=r"could not score the images: ValueError: cannot score this"
    ) as caught:
        scorer(["fail"], images)
    assert "\n" not in str(caught.value)
    assert scorer(["ab"], images)[0] == pytest.approx(0.7)


def test_a_worker_that_dies_is_an_error_and_is_started_again(stand_in: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(stand_in))
    scorer = make_scorer("image-reward-package", python=sys.executable)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(ScoreError, match=r"could not score the images: its process ended; .*'scoring die'"):
        scorer(["die"], images)
    assert scorer(["ab"], images)[0] == pytest.approx(0.7)
    scorer.close()
    scorer.close()


def test_without_an_environment_the_remedy_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("ECAD_IMAGE_REWARD_PYTHON", raising=False)
    with pytest.raises(
        ConfigError, match=r"environment of its own: .*pip install image-reward.*ECAD_IMAGE_REWARD_PYTHON"
    ):
        make_scorer("image-reward-package")
    monkeypatch.setenv("ECAD_IMAGE_REWARD_PYTHON", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="is no Python interpreter"):
        make_scorer("image-reward-package")


def test_an_environment_without_the_package_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    """Also one in which importing the package fails, as it does beside current transformers."""
    (tmp_path / "ImageReward.py").write_text("raise ImportError('no name\\nin transformers')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    scorer = make_scorer("image-reward-package", python=sys.executable)
    with pytest.raises(
        ConfigError, match=r"does not run in .*ImportError: no name in transformers"
    ) as caught:
        scorer.check([], 64, 64)
    assert "\n" not in str(caught.value)
