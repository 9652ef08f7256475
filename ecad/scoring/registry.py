"""Metrics by name. A new metric is its file and one record here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ecad.errors import ConfigError
from ecad.scoring.base import Scorer, SetScorer
from ecad.scoring.metric import Metric
from ecad.scoring.weighted import NegatedScorer, WeightedScorer, parse_weighted

_SCORING = "ecad.scoring"

_ALL = (
    Metric(
        "alignment",
        f"{_SCORING}.alignment:AlignmentScorer",
        "how well an image shows its caption's scene (ecad's mini models only)",
    ),
    Metric(
        "image-reward",
        f"{_SCORING}.image_reward.scorer:ImageRewardScorer",
        "human preference, by ImageReward's published weights, in batches",
        packages=("torch", "transformers"),
        weights=f"{_SCORING}.image_reward.scorer:look",
    ),
    Metric(
        "image-reward-package",
        f"{_SCORING}.image_reward.package:PackagedImageRewardScorer",
        "the same by the untouched image-reward package in its own environment",
        weights=f"{_SCORING}.image_reward.package:look",
    ),
    Metric(
        "clip",
        f"{_SCORING}.clip:ClipScorer",
        "100 x cosine of image and prompt; clip:MODEL/PRETRAINED for any open_clip model",
        packages=("torch", "torchvision", "open_clip_torch"),
        imports=("open_clip",),
        weights=f"{_SCORING}.clip:look",
        variant="model",
    ),
    Metric(
        "psnr",
        f"{_SCORING}.fidelity:PsnrScorer",
        "fidelity to the uncached image, dB (a search for it minimises rmse)",
        packages=("torchmetrics",),
        imports=("torchmetrics",),
        # The uncached images' own PSNR has no end, and beside it (or beside any limit put in its place) all that
        # separates useful schedules from useless ones would look small to a search.
        searched_as="rmse",
    ),
    Metric(
        "rmse",
        f"{_SCORING}.fidelity:RmseScorer",
        "root-mean-square difference to the uncached image, of 255",
        higher_is_better=False,
    ),
    Metric(
        "ssim",
        f"{_SCORING}.fidelity:SsimScorer",
        "fidelity to the uncached image, at most 1",
        packages=("torchmetrics",),
        imports=("torchmetrics",),
    ),
    Metric(
        "lpips",
        f"{_SCORING}.lpips:LpipsScorer",
        "perceptual distance to the uncached image; also lpips:vgg and lpips:squeeze",
        higher_is_better=False,
        packages=("torch", "torchvision", "lpips"),
        imports=("lpips",),
        weights=f"{_SCORING}.lpips:look",
        variant="network",
    ),
    Metric(
        "fid",
        f"{_SCORING}.distribution:FidScorer",
        "Fréchet inception distance to a reference set",
        judges="set",
        higher_is_better=False,
        packages=("torch", "torchmetrics"),
        imports=("torchmetrics",),
        weights=f"{_SCORING}.distribution:look",
    ),
    Metric(
        "kid",
        f"{_SCORING}.distribution:KidScorer",
        "kernel inception distance to a reference set",
        judges="set",
        higher_is_better=False,
        decimals=5,  # a hundredth of one for good images: three would show nothing
        packages=("torch", "torchmetrics"),
        imports=("torchmetrics",),
        weights=f"{_SCORING}.distribution:look",
    ),
)

METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Make a metric known by its name. ConfigError if the name is taken."""
    if metric.name in METRICS:
        raise ConfigError(f"there is a metric {metric.name!r} already")
    METRICS[metric.name] = metric


@contextmanager
def registered(metric: Metric) -> Iterator[Metric]:
    """The same for one block of code."""
    register(metric)
    try:
        yield metric
    finally:
        del METRICS[metric.name]


for _metric in _ALL:
    register(_metric)

SHIPPED = frozenset(METRICS)  # the names that every ecad of this version knows


def metric_of(name: str) -> Metric | None:
    """The record of a metric as a user names it, a variant (clip:MODEL) included; None if it is unknown."""
    base, colon, variant = name.partition(":")
    metric = METRICS.get(base)
    if metric is None or (colon and (not metric.variant or not variant)):
        return None
    return metric


def metric_names(judges: str) -> list[str]:
    """The metrics of single images ("image") or of whole sets ("set")."""
    return [name for name, metric in METRICS.items() if metric.judges == judges]


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
    base, _, variant = name.partition(":")
    if base in metric_names("set"):
        raise ConfigError(
            f"{base} judges a whole set of images against a reference set, not single images: it cannot guide a "
            "search; use it in ecad evaluate"
        )
    metric = metric_of(name)
    if metric is None:
        known, sets = metric_names("image"), metric_names("set")
        close = difflib.get_close_matches(base, [*known, *sets], n=1)
        hint = f": use one of {', '.join(known)}; in ecad evaluate also {', '.join(sets)}"
        raise ConfigError(f"unknown quality {name!r}" + (f", did you mean {close[0]!r}?" if close else hint))
    if variant:
        options = {metric.variant: variant, **options}
    scorer: Scorer = metric.make(device, **options)
    return scorer


def make_set_scorer(name: str, device: str = "auto", **options: Any) -> SetScorer:
    """The scorer of whole sets called `name`; errors as in `make_scorer`."""
    known = metric_names("set")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {close[0]!r}?" if close else f": use one of {', '.join(known)}"
        raise ConfigError(f"unknown distribution metric {name!r}{hint}")
    scorer: SetScorer = METRICS[name].make(device, **options)
    return scorer


def make_quality(name: str, device: str = "auto") -> Scorer:
    """The scorer called `name` as something to maximise in a search; errors as in `make_scorer`."""
    return as_quality(make_scorer(name, device), device)


def as_quality(scorer: Scorer, device: str = "auto") -> Scorer:
    """The scorer as something to maximise: itself, or its negative if lower is better (`Metric.searched_as` first)."""
    metric = METRICS.get(scorer.name)
    if metric is not None and metric.searched_as:
        scorer = make_scorer(metric.searched_as, device)
    return scorer if scorer.higher_is_better else NegatedScorer(scorer)
