"""Scorers by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from ecad.errors import ConfigError
from ecad.evaluation.scorers.base import Scorer, SetScorer
from ecad.evaluation.scorers.weighted import WeightedScorer, parse_weighted

# name -> what it says, for lists and `ecad doctor`.
SCORERS = {
    "alignment": "how well an image shows its caption's scene (ecad's mini models only)",
    "image-reward": "human preference, by ImageReward's published weights, in batches",
    "image-reward-package": "the same by the untouched image-reward package in its own environment",
    "clip": "100 x cosine of image and prompt; clip:MODEL/PRETRAINED for any open_clip model",
    "psnr": "fidelity to the uncached image, dB (a search for it minimises rmse)",
    "rmse": "root-mean-square difference to the uncached image, of 255",
    "ssim": "fidelity to the uncached image, at most 1",
    "lpips": "perceptual distance to the uncached image; also lpips:vgg and lpips:squeeze",
}
SET_SCORERS = {
    "fid": "Fréchet inception distance to a reference set",
    "kid": "kernel inception distance to a reference set",
}
# Those of which a variant can be named after a colon, and the option that it sets.
_VARIANTS = {"clip": "model", "lpips": "network"}


def make_scorer(name: str, device: str = "auto", **options: Any) -> Scorer:
    """The scorer called `name`, or a weighted sum such as "0.7*image-reward+0.3*clip".

    `options` go to the scorer's class (not allowed for a sum). Raises ConfigError, with the remedy, for an unknown
    name and if the scorer's packages or weights are missing. Weights are loaded by `check` or at first use.
    """
    terms = parse_weighted(name)
    if terms is not None:
        if options:
            raise ConfigError(f"options cannot be given for the weighted quality {name!r}")
        return WeightedScorer([(weight, make_scorer(part, device)) for weight, part in terms])
    base, colon, variant = name.partition(":")
    if base in SET_SCORERS:
        raise ConfigError(
            f"{base} judges a whole set of images against a reference set, not single images: it cannot guide a "
            "search; use it in ecad evaluate"
        )
    if base not in SCORERS or (colon and (base not in _VARIANTS or not variant)):
        sets = f"; in ecad evaluate also {', '.join(SET_SCORERS)}"
        raise ConfigError(
            f"unknown quality {name!r}{_suggestion(base, list(SCORERS), list(SET_SCORERS), sets)}"
        )
    if variant:
        options = {_VARIANTS[base]: variant, **options}
    scorer: Scorer = _class_of(base)(device=device, **options)
    return scorer


def make_set_scorer(name: str, device: str = "auto", **options: Any) -> SetScorer:
    """The scorer of whole sets called `name`; errors as in `make_scorer`."""
    from ecad.evaluation.scorers import distribution

    classes: dict[str, Callable[..., SetScorer]] = {
        "fid": distribution.FidScorer,
        "kid": distribution.KidScorer,
    }
    if name not in classes:
        raise ConfigError(f"unknown distribution metric {name!r}{_suggestion(name, list(classes))}")
    return classes[name](device=device, **options)


def _class_of(name: str) -> Callable[..., Any]:
    if name == "alignment":
        from ecad.evaluation.scorers.alignment import AlignmentScorer

        return AlignmentScorer
    if name == "image-reward":
        from ecad.evaluation.scorers.image_reward import ImageRewardScorer

        return ImageRewardScorer
    if name == "image-reward-package":
        from ecad.evaluation.scorers.image_reward_package import PackagedImageRewardScorer

        return PackagedImageRewardScorer
    if name == "clip":
        from ecad.evaluation.scorers.clip import ClipScorer

        return ClipScorer
    from ecad.evaluation.scorers import fidelity

    return {
        "psnr": fidelity.PsnrScorer,
        "rmse": fidelity.RmseScorer,
        "ssim": fidelity.SsimScorer,
        "lpips": fidelity.LpipsScorer,
    }[name]


def _suggestion(name: str, known: Sequence[str], others: Sequence[str] = (), about_others: str = "") -> str:
    close = difflib.get_close_matches(name, [*known, *others], n=1)
    return f", did you mean {close[0]!r}?" if close else f": use one of {', '.join(known)}{about_others}"
