"""The `lpips` scorer: learned perceptual distance to the uncached image, by the lpips package."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecad.devices import choose_device
from ecad.errors import ConfigError, all_lines
from ecad.scoring.fidelity import FidelityScorer
from ecad.scoring.needs import check_address, given_path, need_package

# Below this, the last of AlexNet's and VGG's pooled maps is empty.
_SMALLEST = 32

LPIPS_VARIABLE = "ECAD_LPIPS_BACKBONE"
# lpips' name of a network -> torchvision's.
_BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


class LpipsScorer(FidelityScorer):
    """Learned perceptual distance (Zhang et al. 2018, version 0.1); 0 for identical images, lower is better.

    `network` is alex, vgg or squeeze. `backbone` is a file with torchvision's weights of it; by default the
    environment variable ECAD_LPIPS_BACKBONE names it, else torchvision's own cache or download is used.
    """

    higher_is_better = False
    _smallest = _SMALLEST
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

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # lpips calls torchvision in a way that this calls deprecated
                # pnet_rand: build the backbone without downloading; its weights are put in below.
                model = lpips.LPIPS(net=self._network, pnet_rand=True, verbose=False)
            _load_backbone(model.net, *_backbone_weights(self._network, self._backbone))
            self._model = model.eval().requires_grad_(False).to(choose_device(self._device_name))
        return self._model


def look() -> str:
    """What `ecad doctor` says of its weights."""
    found = cached_backbone()
    return f"weights {found}" if found else "AlexNet's weights will be downloaded at first use (0.2 GB)"


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
        cached = Path(torch.hub.get_dir()) / "checkpoints" / name
        try:
            if not cached.is_file():
                check_address(weights.url)
            return weights.get_state_dict(progress=False, check_hash=True), name
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"lpips needs torchvision's {name}, which could not be downloaded ({error}): get {weights.url} on a "
                f"machine with a connection and put it at {cached}, or set {LPIPS_VARIABLE} to the file"
            ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True), str(path)
    except Exception as error:  # unpickling and zip errors of every kind
        raise ConfigError(
            f"{path} is not a readable PyTorch checkpoint ({all_lines(error)}): set "
            f"{LPIPS_VARIABLE} to torchvision's weights of {_BACKBONES[network]}"
        ) from None


def _load_backbone(net: Any, state: Any, origin: str) -> None:
    """Put torchvision's weights ("features.0.weight") into lpips' slices ("slice1.0.weight")."""
    try:
        net.load_state_dict({key: state["features." + key.split(".", 1)[1]] for key in net.state_dict()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{origin} does not hold the weights of torchvision's {type(net).__name__} "
            f"({all_lines(error)}): set {LPIPS_VARIABLE} to the right file"
        ) from None
