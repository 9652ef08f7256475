"""From a schedule to its evaluation: sample the run's images with it, score them, state the cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ecad.caching import applied
from ecad.errors import TransientEvaluationError
from ecad.evaluation.cost import Workload, schedule_macs, uncached_macs
from ecad.evaluation.latency import LatencyTable
from ecad.evaluation.prompts import PromptSet
from ecad.evaluation.samplers.base import Images, Job, Sampler, batches_of, jobs_for
from ecad.evaluation.scorers.base import Scorer, Scores, check_scores
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule

_LOGGER = logging.getLogger(__name__)


class ModelEvaluator:
    """Evaluates schedules of one model on fixed prompts and seeds.

    Prompts are encoded once, at construction. Images exist in memory for one batch at a time only; but a
    scorer that needs references keeps the uncached model's images, made once at first use (as uint8: 20 MB for
    100 images of 256 x 256). `scorer` must have higher scores for better images (see `as_quality`).
    The cost is relative to recomputing everything: of MACs, or of predicted seconds with a latency table.
    """

    def __init__(
        self,
        sampler: Sampler,
        scorer: Scorer,
        prompts: PromptSet,
        workload: Workload,
        *,
        seeds_per_prompt: int,
        first_seed: int,
        batch_size: int,
        latency_table: LatencyTable | None = None,
        cost: str = "macs",
        on_images: Callable[[int], None] | None = None,
    ) -> None:
        if not scorer.higher_is_better:
            raise ValueError(f"{scorer.name} is lower for better images: pass as_quality(scorer)")
        self._sampler = sampler
        self._scorer = scorer
        self._prompts = prompts
        self._workload = workload
        self._jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
        self._batch_size = batch_size
        self._latency_table = latency_table
        self._cost = cost
        self._on_images = on_images
        self._references: list[Images] | None = None
        self._conditioning = sampler.encode(prompts.prompts, batch_size)

    @property
    def images_per_evaluation(self) -> int:
        return len(self._jobs)

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self.evaluate_schedule(candidate.schedule, candidate.key)

    def evaluate_schedule(self, schedule: Schedule, key: str | None = None) -> Evaluation:
        """The evaluation of one schedule; `scores` in the order of prompts, seeds innermost.

        With a score that is not a finite number the evaluation counts as failed: its quality is NaN, which no front
        takes. Raises ScoreError if that happens to the model's own images, without any reuse.
        """
        try:
            scores = self.scores(schedule)
        except torch.OutOfMemoryError as error:
            raise TransientEvaluationError(
                f"out of memory with batches of {self._batch_size} images: free the device and continue with "
                "--resume, or start a new run with a smaller --batch-size"
            ) from error
        macs = schedule_macs(schedule, self._workload)
        cost = macs / uncached_macs(schedule.steps, self._workload)
        latency_s = None
        if self._latency_table is not None:
            latency_s = self._latency_table.predict(schedule)
            if self._cost == "latency":
                cost = latency_s / self._latency_table.predict(Schedule.all_recompute(schedule.shape))
        quality = self._quality(schedule, scores)
        return Evaluation(
            key=key or schedule.digest(),
            cost=float(cost),
            quality=quality,
            scores=tuple(float(score) for score in scores),
            macs=macs,
            latency_s=latency_s,
        )

    def _quality(self, schedule: Schedule, scores: Scores) -> float:
        if np.isfinite(scores).all():
            return float(scores.mean())
        if schedule.recompute_fraction() == 1.0:
            prompts = [self._prompts.prompts[job.prompt_index] for job in self._jobs]
            check_scores(self._scorer, scores, prompts, "the uncached image")
        failed = int(np.count_nonzero(~np.isfinite(scores)))
        _LOGGER.warning(
            "%s gave no finite number for %d of %d images of schedule %s: it counts as failed",
            self._scorer.name,
            failed,
            len(scores),
            schedule.digest(),
        )
        return math.nan

    def scores(self, schedule: Schedule | None) -> Scores:
        """Score of every image, shape (images,); without a schedule those of the untouched model."""
        parts = []
        references = self._reference_batches() if self._scorer.needs_reference else None
        for number, (jobs, images) in enumerate(self.images(schedule)):
            prompts = [self._prompts.prompts[job.prompt_index] for job in jobs]
            parts.append(self._scorer(prompts, images, None if references is None else references[number]))
        return np.concatenate(parts)

    def images(self, schedule: Schedule | None) -> Iterator[tuple[Sequence[Job], Images]]:
        """Batches of (jobs, images). The schedule is on the model only while a batch is sampled."""
        for jobs in batches_of(self._jobs, self._batch_size):
            if schedule is None:
                images = self._sampler.sample(self._conditioning, jobs)
            else:
                with applied(self._sampler.pipe, schedule):
                    images = self._sampler.sample(self._conditioning, jobs)
            if self._on_images is not None:
                self._on_images(len(jobs))
            yield jobs, images

    def _reference_batches(self) -> list[Images]:
        """The untouched model's images, batch by batch as `images` makes them."""
        if self._references is None:
            self._references = [
                self._sampler.sample(self._conditioning, jobs)
                for jobs in batches_of(self._jobs, self._batch_size)
            ]
        return self._references
