"""How a report's images are shared out: so many at a time, and on which prompts latency is measured."""

from __future__ import annotations

import math

from ecad.prompts import PromptSet
from ecad.searching.settings import ResolvedSearchSettings

# On a CPU batches are at most so large, so that more timings take no longer. An uncached image takes 4 % (pixart-mini)
# or 13 % (flux-mini) longer than in a batch of eight.
_LARGEST_ON_CPU = 4

# Batches whose latency is measured where workers make the others: of three timings two confirm each other on most
# machines. Of larger ones there are two.
_TIMED_BATCHES, _TIMED_LARGE_BATCHES = 3, 2


def report_batch_size(settings: ResolvedSearchSettings, device: str, is_predicted: bool) -> int:
    """Images at a time in a report, on a kind of `device`, wherever they are made.

    As in the search where latencies were predicted (`is_predicted`) for such batches.
    """
    is_small = device == "cpu" and not is_predicted
    return min(settings.batch_size, _LARGEST_ON_CPU) if is_small else settings.batch_size


def parts(prompts: PromptSet, batch_size: int, seeds_per_prompt: int) -> list[PromptSet]:
    """Where workers help: the prompts that are timed, and the rest, if there is any."""
    timed = min(len(prompts), timed_prompts(batch_size, seeds_per_prompt))
    cuts = [(0, timed), (timed, len(prompts))]
    return [prompts.part(start, stop) for start, stop in cuts if stop > start]


def timed_prompts(batch_size: int, seeds_per_prompt: int) -> int:
    """So many that their images are whole batches: then all batches are those of a comparison in one piece."""
    batches = _TIMED_BATCHES if batch_size <= _LARGEST_ON_CPU else _TIMED_LARGE_BATCHES
    step = batch_size // math.gcd(batch_size, seeds_per_prompt)
    return step * math.ceil(batches * batch_size / (step * seeds_per_prompt))
