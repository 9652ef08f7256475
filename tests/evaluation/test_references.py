"""Reference sets: folders of images and files of numbers, and what is said of broken ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecad.errors import ConfigError
from ecad.evaluation.references import check_reference, image_files, load_reference


class MeanColour:
    name, higher_is_better = "mean-colour", False

    def __init__(self) -> None:
        self.calls: list[int] = []

    def features(self, images: np.ndarray) -> np.ndarray:
        self.calls.append(len(images))
        return images.mean(axis=(1, 2))

    def distance(self, features: np.ndarray, reference: Any) -> float:
        return float(np.abs(features.mean(axis=0) - reference.mean(axis=0)).sum())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, size in enumerate([(8, 8), (8, 8), (8, 8), (4, 6)]):
        Image.new("RGB", size, (10 * index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "below").mkdir()
    Image.new("L", (8, 8), 200).save(tmp_path / "below" / "x.JPG")
    (tmp_path / "notes.txt").write_text("no image")
    Image.new("RGB", (8, 8)).save(tmp_path / ".hidden.png")
    return tmp_path


def test_a_folder_of_images(folder: Path) -> None:
    assert [path.name for path in image_files(folder)] == ["0.png", "1.png", "2.png", "3.png", "x.JPG"]
    scorer, progress = MeanColour(), []
    features = load_reference(str(folder), scorer, 2, lambda done, total: progress.append((done, total)))
    assert features[:, 0].tolist() == [0.0, 10.0, 20.0, 30.0, 200.0]
    # Batches of two, and a new one wherever the size changes.
    assert scorer.calls == [2, 1, 1, 1]
    assert progress[-1] == (5, 5)


def test_the_hash_follows_the_content(folder: Path, tmp_path: Path) -> None:
    before = check_reference(str(folder))
    assert check_reference(str(folder)) == before
    (folder / "3.png").rename(folder / "4.png")
    assert check_reference(str(folder)) != before


def test_npz_files(tmp_path: Path) -> None:
    features = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "a.npz", features=features)
    assert np.array_equal(load_reference(str(tmp_path / "a.npz"), MeanColour(), 1), features)
    np.savez(tmp_path / "b.npz", mu=np.zeros(2), sigma=np.eye(2))
    loaded = load_reference(str(tmp_path / "b.npz"), MeanColour(), 1)
    assert sorted(loaded) == ["mu", "sigma"]


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:40])
    with pytest.raises(ConfigError, match=r"2\.png is no readable image .*remove it") as caught:
        load_reference(str(folder), MeanColour(), 2)
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"has 0 images .*at least 2"):
        check_reference(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"no reference .*nowhere"):
        check_reference(str(tmp_path / "nowhere"))
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match=r"bad\.npz is no readable \.npz file"):
        load_reference(str(tmp_path / "bad.npz"), MeanColour(), 1)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ConfigError, match=r"other\.npz holds \['x'\]: expected"):
        load_reference(str(tmp_path / "other.npz"), MeanColour(), 1)
    np.savez(tmp_path / "flat.npz", features=np.zeros(3))
    with pytest.raises(ConfigError, match=r"features have the shape \(3,\)"):
        load_reference(str(tmp_path / "flat.npz"), MeanColour(), 1)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ConfigError, match=r"single\.npy is no readable \.npz"):
        load_reference(str(tmp_path / "single.npy"), MeanColour(), 1)
