"""What a plot's two axes can show of a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecad.errors import ConfigError
from ecad.measuring.rows import Kind, Row
from ecad.report.plot_data import Plotted

X_CHOICES = ("speedup", "latency-speedup", "macs", "latency", "paper")
Interval = tuple[float, float]


@dataclass(frozen=True)
class XAxis:
    """`value` gives a row's place, None where it has none; `interval` what it varies by.

    `is_speedup`: more is better, and 1 is the uncached model. Otherwise the axis is a cost in `unit`.
    """

    label: str
    value: Callable[[Row, Plotted], float | None]
    is_speedup: bool
    interval: Callable[[Row], Interval | None] = lambda row: None

    def gain(self, x: float) -> float:
        """More is better."""
        return x if self.is_speedup else -x


@dataclass(frozen=True)
class YAxis:
    """`value` gives a row's (mean, low, high), None where it has none."""

    label: str
    value: Callable[[Row], tuple[float, float, float] | None]
    higher_is_better: bool
    is_difference: bool

    def gain(self, y: float) -> float:
        """More is better."""
        return y if self.higher_is_better else -y


def x_axis(choice: str, sources: Sequence[Plotted]) -> XAxis:
    """ConfigError for a choice that there is not, or that no row has a number for."""
    name, _, device = choice.partition(":")
    if name not in X_CHOICES or (device and name != "paper"):
        raise ConfigError(f"no axis --x {choice!r}: there are {', '.join(X_CHOICES)} and paper:GPU")
    if name == "speedup":
        axis = XAxis("times fewer MACs than uncached", lambda row, _: row.speedup_macs, True)
    elif name == "latency-speedup":
        axis = XAxis(
            "times faster than uncached, measured", lambda row, _: _finite(row.speedup_latency), True
        )
    elif name == "macs":
        axis = _macs_axis(sources)
    elif name == "latency":
        axis = XAxis(
            "measured time per image, ms",
            lambda row, _: _finite(row.latency_s * 1e3),
            False,
            _quartiles_ms,
        )
    else:
        axis = _paper_axis(device, sources)
    for source in sources:
        if all(axis.value(row, source) is None for row in source.rows if row.kind is not Kind.UNCACHED):
            raise ConfigError(
                f"{source.label} has no numbers for --x {choice}"
                + (": a search measures time in its report, at its end" if source.unfinished else "")
            )
    return axis


def _macs_axis(sources: Sequence[Plotted]) -> XAxis:
    most = max((row.macs or 0 for source in sources for row in source.rows), default=0)
    size, unit = next(((s, u) for s, u in ((1e12, "TMACs"), (1e9, "GMACs")) if most >= s), (1e6, "MMACs"))
    return XAxis(
        f"{unit} per image", lambda row, _: None if row.macs is None else row.macs / size, is_speedup=False
    )


def _paper_axis(device: str, sources: Sequence[Plotted]) -> XAxis:
    known = list(dict.fromkeys(name for source in sources for row in source.rows for name in row.paper_s))
    if not known:
        raise ConfigError(
            "no row has a time on paper: it is in reports of newer versions (ecad search --resume RUN, after its "
            "report.json is moved away, writes one again)"
        )
    chosen = device or known[0]
    if chosen not in known:
        raise ConfigError(f"no row has a time on paper on {chosen!r}, but on: {'; '.join(known)}")

    def speedup(row: Row, source: Plotted) -> float | None:
        uncached = source.uncached
        if uncached is None or chosen not in row.paper_s or chosen not in uncached.paper_s:
            return None
        return uncached.paper_s[chosen] / row.paper_s[chosen]

    return XAxis(f"times faster than uncached, on paper ({chosen})", speedup, is_speedup=True)


def y_axis(choice: str | None, sources: Sequence[Plotted]) -> YAxis:
    """A metric's name, "difference" or "difference:METRIC"; None is the first metric that all have.

    ConfigError for a metric that one of the sources does not have.
    """
    wanted, _, of = (choice or "").partition(":")
    is_difference = wanted == "difference"
    name = (of or None) if is_difference else choice
    if name is None:
        shared = [
            metric.name
            for metric in sources[0].metrics
            if all(source.metric(metric.name) for source in sources)
            and (metric.has_difference or not is_difference)
        ]
        if not shared:
            found = "; ".join(f"{each.label}: {_names(each)}" for each in sources)
            raise ConfigError(f"there is no metric that all have ({found})")
        name = shared[0]
    metrics = []
    for source in sources:
        metric = source.metric(name)
        if metric is None:
            raise ConfigError(
                f"{source.label} has no metric {name!r}, only: {_names(source)}; "
                "--y takes one of these, difference, or difference:METRIC"
            )
        if is_difference and not metric.has_difference:
            raise ConfigError(
                f"{name} compares with the uncached images already: --y {name}, not a difference"
            )
        metrics.append(metric)
    better = metrics[0].higher_is_better

    def value(row: Row) -> tuple[float, float, float] | None:
        numbers = row.metrics.get(name)
        if numbers is None:
            return None
        mean = numbers.difference if is_difference else numbers.mean
        interval = numbers.difference_interval if is_difference else numbers.interval
        if mean is None:
            return None
        return mean, *(interval or (mean, mean))

    label = f"{name} minus uncached" if is_difference else name
    return YAxis(f"{label}{'' if better else ' (less is better)'}", value, better, is_difference)


def _names(source: Plotted) -> str:
    return ", ".join(metric.name for metric in source.metrics)


def _quartiles_ms(row: Row) -> Interval | None:
    spread = row.latency_spread
    return None if spread is None else (spread.low_s * 1e3, spread.high_s * 1e3)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
