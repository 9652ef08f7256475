"""A row of a comparison: what it is, what it costs, and how good it is beside the uncached model.

`ecad search` (its held-out report) and `ecad evaluate` store and show the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, NamedTuple

Measure = Literal["macs", "latency"]


class Kind(str, Enum):
    """What a row is; the value is what files and tables call it."""

    UNCACHED = "uncached"
    FRONT = "front"
    SCHEDULE = "schedule"
    HEURISTIC = "heuristic"
    FEWER_STEPS = "fewer-steps"
    MORE_STEPS = "more-steps"
    BASELINE = "baseline"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Quality:
    """A metric's mean over a row's images and, but for the uncached row itself, its difference to uncached.

    Intervals are 95 % bootstrap intervals over prompts, differences paired by prompt and seed. A metric of a whole set
    has no intervals, a metric of fidelity no difference: it is one already.
    """

    mean: float
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        values = {
            "quality": self.mean,
            "quality_interval": self.interval,
            "difference": self.difference,
            "difference_interval": self.difference_interval,
        }
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if value is not None
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Quality:
        return cls(
            float(content["quality"]),
            _pair(content.get("quality_interval")),
            content.get("difference"),
            _pair(content.get("difference_interval")),
        )


class Spread(NamedTuple):
    """Quartiles of a row's undisturbed timings, in seconds per image, the number of all its timings and of those among
    them that were left out as disturbed (`ecad.measuring.timing`)."""

    low_s: float
    high_s: float
    timings: int
    left_out: int


@dataclass(frozen=True)
class Row:
    """One way to make the same images. MACs and seconds are per image; speedups say how many times fewer than uncached.

    `latency_s` is the median of the undisturbed timings, `latency_spread` how far they are from each other, which rows
    of older versions lack (there `latency_s` is the median over all batches). `speedup_latency` is the ratio of two
    such medians, its range that of the quartiles. MACs are None where they cannot be counted. `latency_s_predicted`
    comes from a run's latency table. `metrics` has those that say something of this row. `paper_s` is the time on paper
    of the transformer, by GPU (`ecad.measuring.paper`), where it is known.
    """

    name: str
    kind: Kind
    steps: int
    macs: int | None
    speedup_macs: float | None
    latency_s: float
    speedup_latency: float
    speedup_latency_range: tuple[float, float]
    metrics: Mapping[str, Quality] = field(default_factory=dict)
    latency_s_predicted: float | None = None
    peak_memory_bytes: int | None = None
    identical_to_uncached: bool | None = None
    paper_s: Mapping[str, float] = field(default_factory=dict)
    latency_spread: Spread | None = None

    def speedup(self, measure: Measure) -> float:
        """In MACs or in latency; 0 where it is not known, so that no threshold takes it."""
        return self.speedup_latency if measure == "latency" else self.speedup_macs or 0.0

    def to_json(self, judge: str | None = None) -> dict[str, Any]:
        """Plain data. With `judge` that metric's numbers stand in the row itself: a search's report has only one."""
        costs = {
            "name": self.name,
            "kind": self.kind.value,
            "steps": self.steps,
            "macs": self.macs,
            "speedup_macs": self.speedup_macs,
            "latency_s": self.latency_s,
        }
        times: dict[str, Any] = {
            "speedup_latency": self.speedup_latency,
            "speedup_latency_range": list(self.speedup_latency_range),
        }
        if self.latency_spread is not None:
            times["latency_spread"] = self.latency_spread._asdict()
        if self.paper_s:
            times["paper_s"] = dict(self.paper_s)
        if judge is not None:
            predicted = {"latency_s_predicted": self.latency_s_predicted}
            return {**costs, **predicted, **times, **self.metrics[judge].to_json()}
        return {
            **costs,
            **times,
            "peak_memory_bytes": self.peak_memory_bytes,
            "identical_to_uncached": self.identical_to_uncached,
            "metrics": {name: quality.to_json() for name, quality in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], judge: str | None = None) -> Row:
        """Inverse of `to_json`. Raises KeyError, TypeError or ValueError for what is no row."""
        metrics = {judge: content} if judge is not None else content["metrics"]
        low, high = content["speedup_latency_range"]
        return cls(
            name=str(content["name"]),
            kind=Kind(content["kind"]),
            steps=int(content["steps"]),
            macs=content["macs"],
            speedup_macs=content["speedup_macs"],
            latency_s=float(content["latency_s"]),
            speedup_latency=float(content["speedup_latency"]),
            speedup_latency_range=(float(low), float(high)),
            metrics={name: Quality.from_json(numbers) for name, numbers in metrics.items()},
            latency_s_predicted=content.get("latency_s_predicted"),
            peak_memory_bytes=content.get("peak_memory_bytes"),
            identical_to_uncached=content.get("identical_to_uncached"),
            paper_s={name: float(seconds) for name, seconds in content.get("paper_s", {}).items()},
            latency_spread=_spread(content.get("latency_spread")),
        )


def _spread(content: Any) -> Spread | None:
    if content is None:
        return None
    timings, left_out = int(content["timings"]), int(content["left_out"])
    return Spread(float(content["low_s"]), float(content["high_s"]), timings, left_out)


def _pair(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    low, high = values
    return float(low), float(high)
