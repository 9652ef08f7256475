"""From what a comparison measured to the numbers of its rows."""

from __future__ import annotations

from collections.abc import Mapping

from ecad.arrays import Scores
from ecad.measuring.macs import Work, schedule_macs, uncached_macs
from ecad.measuring.measurements import Outcome
from ecad.measuring.rows import Quality, Row
from ecad.measuring.statistics import mean_interval, paired_interval


def row_of(outcome: Outcome, uncached: Outcome, workload: Work, metrics: Mapping[str, Quality]) -> Row:
    """The row of an outcome, with these metrics."""
    contender = outcome.contender
    macs: int | None
    if contender.pipeline is not None:
        macs = outcome.pipeline_macs
    elif contender.schedule is not None:
        macs = schedule_macs(contender.schedule, workload)
    else:
        macs = uncached_macs(contender.steps, workload)
    own, whole = outcome.latency, uncached.latency
    slowest, fastest = whole.spread.low_s / own.spread.high_s, whole.spread.high_s / own.spread.low_s
    return Row(
        name=contender.name,
        kind=contender.kind,
        steps=contender.steps,
        macs=macs,
        speedup_macs=uncached_macs(uncached.contender.steps, workload) / macs if macs else None,
        latency_s=own.median_s,
        speedup_latency=whole.median_s / own.median_s,
        speedup_latency_range=(1.0, 1.0) if outcome is uncached else (slowest, fastest),
        metrics=metrics,
        peak_memory_bytes=outcome.peak_memory_bytes,
        identical_to_uncached=outcome.images_sha256 == uncached.images_sha256,
        latency_spread=own.spread,
    )


def quality_of(scores: Scores, uncached: Scores | None, images_per_prompt: int) -> Quality:
    """Mean score and, with the uncached model's scores, the paired difference to them."""
    mean = mean_interval(scores, images_per_prompt)
    if uncached is None:
        return Quality(mean.mean, (mean.low, mean.high))
    paired = paired_interval(scores, uncached, images_per_prompt)
    return Quality(mean.mean, (mean.low, mean.high), paired.mean, (paired.low, paired.high))
