"""The numbers in a row of a comparison: costs and quality beside those of the uncached model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecad.evaluation.comparison import Outcome, Scores
from ecad.evaluation.cost import Workload, schedule_macs, uncached_macs
from ecad.evaluation.statistics import mean_interval, paired_interval


def cost_numbers(outcome: Outcome, uncached: Outcome, workload: Workload) -> dict[str, Any]:
    """MACs and seconds per image, and how many times fewer than uncached.

    The latency is the median over batches, its speedup the median of the ratios within a batch.
    """
    contender = outcome.contender
    macs: int | None
    if contender.pipeline is not None:
        macs = outcome.pipeline_macs
    elif contender.schedule is not None:
        macs = schedule_macs(contender.schedule, workload)
    else:
        macs = uncached_macs(contender.steps, workload)
    ratios = uncached.seconds_per_image / outcome.seconds_per_image
    return {
        "macs": macs,
        "speedup_macs": uncached_macs(uncached.contender.steps, workload) / macs if macs else None,
        "latency_s": float(np.median(outcome.seconds_per_image)),
        "speedup_latency": float(np.median(ratios)),
        "speedup_latency_range": [float(ratios.min()), float(ratios.max())],
    }


def quality_numbers(scores: Scores, uncached: Scores | None, images_per_prompt: int) -> dict[str, Any]:
    """Mean score and, with the uncached model's scores, the paired difference to them; 95 % intervals."""
    quality = mean_interval(scores, images_per_prompt)
    numbers: dict[str, Any] = {"quality": quality.mean, "quality_interval": [quality.low, quality.high]}
    if uncached is not None:
        difference = paired_interval(scores, uncached, images_per_prompt)
        numbers["difference"] = difference.mean
        numbers["difference_interval"] = [difference.low, difference.high]
    return numbers
