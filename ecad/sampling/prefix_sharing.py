"""Images of several schedules, the steps that they have in common computed once.

Sorted by what they do, the schedules are the leaves of a tree, walked depth first: before each branching the state of
the denoising and of the cache is saved, and the next schedule goes on from there. The images are the same bit for bit
as those of each schedule on its own, since the same computations lead to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from ecad.arrays import Images
from ecad.caching import AppliedSchedule, applied
from ecad.sampling.base import Job, SteppedSampler
from ecad.sampling.denoising import Denoising
from ecad.schedule import Schedule, shared_steps


def sample_sharing(
    sampler: SteppedSampler, conditioning: Any, jobs: Sequence[Job], schedules: Sequence[Schedule]
) -> Iterator[Images]:
    """The images of each schedule, in the order given, each (len(jobs), height, width, 3).

    What neighbours share is saved, so the order should put those with long common prefixes next to each other
    (`ecad.schedule.group_by_prefix`). Memory: every saved state holds one output of every component, those that
    did not change in between only once; there are at most as many saved states as there are later schedules.
    """
    shared = [min(shared_steps(first, second), first.steps - 1) for first, second in pairwise(schedules)]
    denoising = sampler.start(conditioning, jobs)
    saved = [_Saved(0, denoising.save(), None)]
    for number, schedule in enumerate(schedules):
        # Of this schedule's steps the later ones need: what the next shares, what that shares with the one after ...
        branchings = set(accumulate(shared[number:], min))
        with applied(sampler.pipe, schedule, summed_runs=False) as handle:
            saved[-1].resume(denoising, handle)
            while saved[-1].step > max(branchings, default=0):  # no later schedule needs it
                saved.pop()
            while denoising.step < denoising.steps:
                if denoising.step in branchings and denoising.step > saved[-1].step:
                    saved.append(_Saved(denoising.step, denoising.save(), handle.snapshot()))
                handle.keep_everything(denoising.step < max(branchings, default=0))
                denoising.advance()
        yield sampler.decode(denoising.latents)


@dataclass(frozen=True)
class _Saved:
    step: int
    denoising: Any
    cache: Any

    def resume(self, denoising: Denoising, handle: AppliedSchedule) -> None:
        denoising.load(self.denoising)
        if self.cache is not None:
            handle.restore(self.cache)
