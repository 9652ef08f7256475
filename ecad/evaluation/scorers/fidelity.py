"""How close an image is to the uncached model's image of the same prompt and seed: psnr, rmse, ssim, lpips.

The formulas are torchmetrics' and the lpips package's.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecad.errors import ConfigError
from ecad.evaluation.samplers.base import Images
from ecad.evaluation.scorers.base import Scores, check_arguments
from ecad.evaluation.scorers.packages import need_package
from ecad.evaluation.scorers.weights import given_path

# Identical images have an infinite PSNR, which no mean survives. The largest finite one of 8-bit images of
# n x n RGB pixels is 20 log10(255) + 10 log10(3 n^2) = 89 dB at 64, 113 dB at 1024.
PSNR_LIMIT_DB = 100.0

# torchmetrics' SSIM window: a Gaussian of 1.5 pixels, cut off at 11 x 11 (Wang et al. 2004).
_SSIM_SMALLEST = 11
# Below this, the last of AlexNet's and VGG's pooled maps is empty.
_LPIPS_SMALLEST = 32

LPIPS_VARIABLE = "ECAD_LPIPS_BACKBONE"
# lpips' name of a network -> torchvision's.
_BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


class _FidelityScorer(ABC):
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

        from ecad.evaluation.loading import choose_device

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


class PsnrScorer(_FidelityScorer):
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


class RmseScorer(_FidelityScorer):
    """Root of the mean squared difference over all pixels and channels, in steps of 255; 0 for identical images.

    The same order of images as PSNR, on a scale that has an end: a search for `psnr` minimises this (`as_quality`).
    """

    name = "rmse"
    higher_is_better = False

    def _compare(self, images: Any, references: Any) -> Any:
        return (images - references).square().mean(dim=(1, 2, 3)).sqrt()


class SsimScorer(_FidelityScorer):
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


class LpipsScorer(_FidelityScorer):
    """Learned perceptual distance (Zhang et al. 2018, version 0.1); 0 for identical images, lower is better.

    `network` is alex, vgg or squeeze. `backbone` is a file with torchvision's weights of it; by default the
    environment variable ECAD_LPIPS_BACKBONE names it, else torchvision's own cache or download is used.
    """

    higher_is_better = False
    _smallest = _LPIPS_SMALLEST
    _double_precision = False

    def __init__(
        self, device: str = "auto", network: str = "alex", backbone: str | None = None, batch_size: int = 16
    ) -> None:
        if network not in _BACKBONES:
            raise ConfigError(f"unknown lpips network {network!r}: use one of {', '.join(_BACKBONES)}")
        need_package("lpips", "lpips")
        super().__init__(device, batch_size)
        self.name = "lpips" if network == "alex" else f"lpips:{network}"
        self._network = network
        self._backbone = backbone
        self._model: Any = None

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Any prompt will do; loads the weights. Raises ConfigError if the images are too small."""
        super().check(prompts, height, width)
        self._load()

    def _compare(self, images: Any, references: Any) -> Any:
        return self._load()(images / 127.5 - 1.0, references / 127.5 - 1.0).reshape(-1)

    def _load(self) -> Any:
        if self._model is None:
            import lpips

            from ecad.evaluation.loading import choose_device

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # lpips calls torchvision in a way that this calls deprecated
                # pnet_rand: build the backbone without downloading; its weights are put in below.
                model = lpips.LPIPS(net=self._network, pnet_rand=True, verbose=False)
            _load_backbone(model.net, *_backbone_weights(self._network, self._backbone))
            self._model = model.eval().requires_grad_(False).to(choose_device(self._device_name))
        return self._model


def cached_backbone(network: str = "alex") -> Path | None:
    """The file of a network's weights if it is on this machine; ConfigError if the variable names no file."""
    import torch
    from torchvision.models import get_model_weights

    path = given_path(None, LPIPS_VARIABLE)
    if path is None:
        name = get_model_weights(_BACKBONES[network]).IMAGENET1K_V1.url.rpartition("/")[2]
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
    return path if path.is_file() else None


def _backbone_weights(network: str, option: str | None) -> tuple[Any, str]:
    """torchvision's weights of an lpips network and where they are from; ConfigError if they cannot be had."""
    import torch
    from torchvision.models import get_model_weights

    path = given_path(option, LPIPS_VARIABLE)
    if path is None:
        weights = get_model_weights(_BACKBONES[network]).IMAGENET1K_V1
        name = weights.url.rpartition("/")[2]
        try:
            return weights.get_state_dict(progress=False, check_hash=True), name
        except (OSError, RuntimeError) as error:
            cached = Path(torch.hub.get_dir()) / "checkpoints" / name
            raise ConfigError(
                f"lpips needs torchvision's {name}, which could not be downloaded ({error}): get {weights.url} on a "
                f"machine with a connection and put it at {cached}, or set {LPIPS_VARIABLE} to the file"
            ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True), str(path)
    except Exception as error:  # unpickling and zip errors of every kind
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"{path} is not a readable PyTorch checkpoint ({type(error).__name__}: {reason[:160]}): set "
            f"{LPIPS_VARIABLE} to torchvision's weights of {_BACKBONES[network]}"
        ) from None


def _load_backbone(net: Any, state: Any, origin: str) -> None:
    """Put torchvision's weights ("features.0.weight") into lpips' slices ("slice1.0.weight")."""
    try:
        net.load_state_dict({key: state["features." + key.split(".", 1)[1]] for key in net.state_dict()})
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"{origin} does not hold the weights of torchvision's {type(net).__name__} "
            f"({type(error).__name__}: {reason}): set {LPIPS_VARIABLE} to the right file"
        ) from None
