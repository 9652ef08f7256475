"""Several ways to make the same images, compared in one run: quality on shared noises, latency side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecad.caching import applied
from ecad.evaluation.prompts import PromptSet
from ecad.evaluation.samplers.base import Images, Job, Sampler, batches_of, jobs_for
from ecad.evaluation.scorers.base import Scorer, check_scores
from ecad.schedule import Schedule


@dataclass(frozen=True)
class Contender:
    """One row of a comparison. `kind` is "uncached", "front", "heuristic" or "fewer-steps".

    Without a schedule the untouched model runs with `steps` steps.
    """

    name: str
    kind: str
    steps: int
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Outcome:
    """`scores` has shape (images,); `seconds_per_image` shape (batches,), scoring and text encoding excluded."""

    contender: Contender
    scores: npt.NDArray[np.float64]
    seconds_per_image: npt.NDArray[np.float64]


def compare(
    contenders: Sequence[Contender],
    sampler: Sampler,
    scorer: Scorer,
    prompts: PromptSet,
    *,
    seeds_per_prompt: int,
    first_seed: int,
    batch_size: int,
    on_images: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Every contender makes the same images, batch by batch in turn.

    All contenders do one batch before any does the next, so slow drifts of the machine hit all alike and
    ratios of latencies are taken within a batch. One batch per distinct number of steps is made beforehand to
    warm up. `on_images(done, total)` is called after each batch. A scorer that needs references gets the images
    of the untouched model. Raises ScoreError for a score that is not a finite number.
    """
    jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
    conditioning = sampler.encode(prompts.prompts, batch_size)
    samplers = {steps: sampler.with_steps(steps) for steps in {contender.steps for contender in contenders}}
    for warm in samplers.values():
        warm.sample(conditioning, jobs[:batch_size])

    def make(contender: Contender, batch: Sequence[Job]) -> tuple[Images, float]:
        context = nullcontext() if contender.schedule is None else applied(sampler.pipe, contender.schedule)
        with context:
            start = time.perf_counter()
            images = samplers[contender.steps].sample(conditioning, batch)
            return images, (time.perf_counter() - start) / len(batch)

    scores: list[list[npt.NDArray[np.float64]]] = [[] for _ in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    done, total = 0, len(jobs) * len(contenders)
    for number, batch in enumerate(batches_of(jobs, batch_size)):
        captions = [prompts.prompts[job.prompt_index] for job in batch]
        references = sampler.sample(conditioning, batch) if scorer.needs_reference else None
        for place in range(len(contenders)):
            index = (place + number) % len(contenders)  # another one is first in each batch
            images, seconds_per_image = make(contenders[index], batch)
            judged = scorer(captions, images, references)
            scores[index].append(
                check_scores(scorer, judged, captions, f"an image by {contenders[index].name}")
            )
            if len(batch) == batch_size or number == 0:  # a smaller last batch has another latency
                seconds[index].append(seconds_per_image)
            done += len(batch)
            if on_images is not None:
                on_images(done, total)
    return [
        Outcome(contender, np.concatenate(scores[index]), np.array(seconds[index]))
        for index, contender in enumerate(contenders)
    ]
