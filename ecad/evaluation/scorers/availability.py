"""Which scorers can be used here and what is missing for the others. Nothing is downloaded or loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from ecad.errors import EcadError
from ecad.evaluation.scorers.packages import need_package
from ecad.evaluation.scorers.registry import SCORERS, SET_SCORERS


@dataclass(frozen=True)
class Availability:
    """One scorer. `detail` says what was found, or what is missing and how to get it; `versions` of packages."""

    name: str
    kind: str  # "image" or "set"
    description: str
    available: bool
    detail: str
    versions: dict[str, str]


def availability() -> list[Availability]:
    """All scorers, in the order of the registry."""
    result = []
    for kind, names in (("image", SCORERS), ("set", SET_SCORERS)):
        for name, description in names.items():
            try:
                available, detail = True, _LOOKS[name]()
            except EcadError as error:
                available, detail = False, str(error)
            result.append(
                Availability(name, kind, description, available, detail, _versions(_PACKAGES[name]))
            )
    return result


def _nothing() -> str:
    return "part of ecad; no weights"


def _image_reward() -> str:
    from ecad.evaluation.scorers import image_reward

    return f"weights {image_reward.find_cached_files()[0]}"


def _image_reward_package() -> str:
    from ecad.evaluation.scorers.image_reward_package import find_python

    return f"runs in {find_python()} (not started)"


def _clip() -> str:
    need_package("open_clip", "clip")
    from ecad.evaluation.scorers.clip import DEFAULT_MODEL, cached_checkpoint

    found = cached_checkpoint()
    if found is None:
        return f"the weights of {DEFAULT_MODEL} will be downloaded at first use (0.6 GB)"
    return f"weights {found}"


def _torchmetrics() -> str:
    need_package("torchmetrics", "this metric")
    return "no weights"


def _lpips() -> str:
    need_package("lpips", "lpips")
    from ecad.evaluation.scorers.fidelity import cached_backbone

    found = cached_backbone()
    return (
        f"weights {found}"
        if found is not None
        else "AlexNet's weights will be downloaded at first use (0.2 GB)"
    )


def _inception() -> str:
    need_package("torchmetrics", "this metric")
    from ecad.evaluation.scorers.distribution import find_inception

    return f"weights {find_inception()}"


_LOOKS: dict[str, Callable[[], str]] = {
    "alignment": _nothing,
    "image-reward": _image_reward,
    "image-reward-package": _image_reward_package,
    "clip": _clip,
    "psnr": _torchmetrics,
    "rmse": _nothing,
    "ssim": _torchmetrics,
    "lpips": _lpips,
    "fid": _inception,
    "kid": _inception,
}
_PACKAGES: dict[str, tuple[str, ...]] = {
    "alignment": (),
    "image-reward": ("torch", "transformers"),
    "image-reward-package": (),
    "clip": ("torch", "torchvision", "open_clip_torch"),
    "psnr": ("torchmetrics",),
    "rmse": (),
    "ssim": ("torchmetrics",),
    "lpips": ("torch", "torchvision", "lpips"),
    "fid": ("torch", "torchmetrics"),
    "kid": ("torch", "torchmetrics"),
}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> installed version, "missing" if it is not installed."""
    result = {}
    for package in packages:
        try:
            result[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            result[package] = "missing"
    return result
