"""PSNR, SSIM and LPIPS against the uncached image: the contract, and numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contracts.scorer import ScorerContract

from ecad.errors import ConfigError
from ecad.scoring import as_quality, make_scorer
from ecad.scoring.fidelity import PSNR_LIMIT_DB

pytest.importorskip("torchmetrics")


def plain(*levels: int) -> np.ndarray:
    """One gray image of 64 x 64 pixels per level."""
    return np.stack([np.full((64, 64, 3), level, np.uint8) for level in levels])


class TestPsnr(ScorerContract):
    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("psnr", "cpu", batch_size=2)

    def test_numbers(self, scorer: Any) -> None:
        # 10 log10(255^2 / error^2) for differences of 10 and of 1; none at all is limited.
        scores = scorer([""] * 3, plain(100, 100, 100), plain(110, 101, 100))
        np.testing.assert_allclose(scores, [28.13080361, 48.13080361, PSNR_LIMIT_DB], rtol=1e-6)
        assert scorer.higher_is_better


class TestRmse(ScorerContract):
    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("rmse", "cpu", batch_size=2)

    def test_numbers(self, scorer: Any) -> None:
        half = plain(100)
        half[:, :32] = 104  # half of the pixels are 4 off: the root of 8
        np.testing.assert_allclose(
            scorer([""] * 3, plain(100, 100, 100), np.concatenate([plain(110, 100), half])), [10, 0, 8**0.5]
        )
        assert not scorer.higher_is_better

    def test_a_search_for_psnr_minimises_it(self, given: Any) -> None:
        quality = as_quality(make_scorer("psnr", "cpu"), "cpu")
        assert quality.name == "-rmse"
        scores, decibels = (judge(*given) for judge in (quality, make_scorer("psnr", "cpu")))
        np.testing.assert_allclose(20 * np.log10(255 / -scores), decibels, rtol=1e-6)


class TestSsim(ScorerContract):
    @pytest.fixture
    def scorer(self) -> Any:
        return make_scorer("ssim", "cpu", batch_size=2)

    def test_numbers(self, scorer: Any) -> None:
        # Of plain images only the luminance term is left: (2 x y + c) / (x^2 + y^2 + c), c = (0.01 * 255)^2.
        scores = scorer([""] * 2, plain(100, 100), plain(110, 100))
        np.testing.assert_allclose(scores, [22006.5025 / 22106.5025, 1.0], rtol=1e-9)

    def test_small_images_are_refused(self, scorer: Any) -> None:
        with pytest.raises(ConfigError, match="ssim needs images of at least 11 x 11 pixels, not 8 x 64"):
            scorer.check([], 8, 64)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's AlexNet checkpoint, with random values."""
    models = pytest.importorskip("torchvision.models", exc_type=Exception)
    pytest.importorskip("lpips", exc_type=Exception)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save(models.alexnet(weights=None).state_dict(), path)
    return path


class TestLpips(ScorerContract):
    @pytest.fixture
    def scorer(self, backbone: Path) -> Any:
        return make_scorer("lpips", "cpu", backbone=str(backbone), batch_size=2)

    def test_it_is_the_packages_distance(self, scorer: Any, given: Any, backbone: Path) -> None:
        import lpips

        prompts, images, references = given
        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        weights = torch.load(backbone, weights_only=True)
        for name, parameter in model.net.named_parameters():
            parameter.data = weights["features." + name.partition(".")[2]]
        pair = [lpips.im2tensor(array[0]) for array in (images, references)]
        assert scorer(prompts, images, references)[0] == pytest.approx(model(*pair).item(), rel=1e-5)

    def test_identical_images_have_no_distance(self, scorer: Any, given: Any) -> None:
        prompts, images, references = given
        np.testing.assert_allclose(scorer(prompts, images, images), 0.0, atol=1e-9)
        assert (scorer(prompts, images, references) > 1e-4).all()
        assert not scorer.higher_is_better

    def test_small_images_are_refused(self, scorer: Any) -> None:
        with pytest.raises(ConfigError, match="lpips needs images of at least 32 x 32 pixels"):
            scorer.check([], 64, 16)

    def test_wrong_weights_are_named(self, backbone: Path, tmp_path: Path, monkeypatch: Any) -> None:
        torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
        (tmp_path / "broken.pth").write_bytes(b"nothing")
        for name, message in (
            ("other.pth", "does not hold the weights of torchvision's alexnet"),
            ("broken.pth", "is not a readable PyTorch checkpoint"),
        ):
            monkeypatch.setenv("ECAD_LPIPS_BACKBONE", str(tmp_path / name))
            with pytest.raises(ConfigError, match=f"{name} {message}") as caught:
                make_scorer("lpips", "cpu").check([], 64, 64)
            assert "\n" not in str(caught.value)
        monkeypatch.setenv("ECAD_LPIPS_BACKBONE", str(tmp_path / "none.pth"))
        with pytest.raises(ConfigError, match=r"ECAD_LPIPS_BACKBONE=.*none.pth: there is no such file"):
            make_scorer("lpips", "cpu").check([], 64, 64)

    def test_without_a_connection_the_remedy_is_said(self, backbone: Path, monkeypatch: Any) -> None:
        def fail(*arguments: Any, **options: Any) -> Any:
            raise OSError("no route to host")

        monkeypatch.delenv("ECAD_LPIPS_BACKBONE", raising=False)
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
        with pytest.raises(
            ConfigError,
            match=r"alexnet-[-a-z0-9]+.pth, which could not be downloaded .*get https://.*put it at .*checkpoints",
        ):
            make_scorer("lpips", "cpu").check([], 64, 64)
