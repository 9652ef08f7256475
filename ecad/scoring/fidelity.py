"""How close an image is to the uncached model's image of the same prompt and seed: psnr, rmse, ssim.

The formulas are torchmetrics'. `lpips` has a module of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ecad.arrays import Images, Scores
from ecad.devices import choose_device
from ecad.errors import ConfigError
from ecad.scoring.base import check_arguments
from ecad.scoring.needs import need_package

# Identical images have an infinite PSNR, which no mean survives. The largest finite one of 8-bit images of
# n x n RGB pixels is 20 log10(255) + 10 log10(3 n^2) = 89 dB at 64, 113 dB at 1024.
PSNR_LIMIT_DB = 100.0

# torchmetrics' SSIM window: a Gaussian of 1.5 pixels, cut off at 11 x 11 (Wang et al. 2004).
_SSIM_SMALLEST = 11


class FidelityScorer(ABC):
    """What they share: arguments, batches, and the smallest image."""

    name: str
    higher_is_better: bool
    needs_reference = True
    _smallest = 1
    # Variances are differences of squares: in float32, SSIM of nearly plain images is off in the fourth digit.
    _double_precision = True

    def __init__(self, device: str = "auto", batch_size: int = 32) -> None:
        self._device_name = device
        self._batch_size = batch_size

    def __call__(self, prompts: Sequence[str], images: Images, references: Images | None = None) -> Scores:
        import torch

        check_arguments(self, prompts, images, references)
        self.check(prompts, *images.shape[1:3])
        device = choose_device(self._device_name)
        double = self._double_precision and device.type != "mps"  # which has no float64
        parts = [np.zeros(0, np.float64)]
        for start in range(0, len(images), self._batch_size):
            pair = [
                torch.from_numpy(np.ascontiguousarray(of[start : start + self._batch_size]))
                .to(device)
                .permute(0, 3, 1, 2)
                .to(torch.float64 if double else torch.float32)
                for of in (images, references)
                if of is not None
            ]
            with torch.inference_mode():
                parts.append(self._compare(*pair).double().cpu().numpy())
        return np.concatenate(parts)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Any prompt will do. Raises ConfigError if the images are too small for the metric."""
        if min(height, width) < self._smallest:
            raise ConfigError(
                f"{self.name} needs images of at least {self._smallest} x {self._smallest} pixels, "
                f"not {height} x {width}"
            )

    @abstractmethod
    def _compare(self, images: Any, references: Any) -> Any:
        """Scores (n,) of float tensors (n, 3, height, width) in [0, 255]."""


class PsnrScorer(FidelityScorer):
    """Peak signal-to-noise ratio in dB, over all pixels and channels, at most PSNR_LIMIT_DB."""

    name = "psnr"
    higher_is_better = True

    def __init__(self, device: str = "auto", batch_size: int = 32) -> None:
        need_package("torchmetrics", "psnr")
        super().__init__(device, batch_size)

    def _compare(self, images: Any, references: Any) -> Any:
        from torchmetrics.functional.image import peak_signal_noise_ratio

        ratios = peak_signal_noise_ratio(
            images, references, data_range=255.0, reduction="none", dim=(1, 2, 3)
        )
        return ratios.clamp(max=PSNR_LIMIT_DB)


class RmseScorer(FidelityScorer):
    """Root of the mean squared difference over all pixels and channels, in steps of 255; 0 for identical images.

    The same order of images as PSNR, on a scale that has an end: a search for `psnr` minimises this (`as_quality`).
    """

    name = "rmse"
    higher_is_better = False

    def _compare(self, images: Any, references: Any) -> Any:
        return (images - references).square().mean(dim=(1, 2, 3)).sqrt()


class SsimScorer(FidelityScorer):
    """Structural similarity (Wang et al. 2004), mean over pixels and RGB channels; 1 for identical images."""

    name = "ssim"
    higher_is_better = True
    _smallest = _SSIM_SMALLEST

    def __init__(self, device: str = "auto", batch_size: int = 32) -> None:
        need_package("torchmetrics", "ssim")
        super().__init__(device, batch_size)

    def _compare(self, images: Any, references: Any) -> Any:
        from torchmetrics.functional.image import structural_similarity_index_measure

        return structural_similarity_index_measure(
            images, references, data_range=255.0, reduction="none"
        ).reshape(-1)
