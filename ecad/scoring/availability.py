"""Which metrics can be used here and what is missing for the others. Nothing is downloaded or loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ecad.errors import EcadError
from ecad.scoring.metric import Metric
from ecad.scoring.registry import METRICS


@dataclass(frozen=True)
class Availability:
    """One metric. `detail` says what was found, or what is missing and how to get it."""

    metric: Metric
    available: bool
    detail: str


def availability() -> list[Availability]:
    """All metrics, in the order of the registry."""
    return [_of(metric) for metric in METRICS.values()]


def _of(metric: Metric) -> Availability:
    try:
        return Availability(metric, True, metric.look())
    except EcadError as error:
        return Availability(metric, False, str(error))
