"""From a schedule to its evaluation: sample the run's images with it, score them, state the cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ecad.caching import applied
from ecad.errors import TransientEvaluationError
from ecad.evaluation.cost import Workload, schedule_macs, uncached_macs
from ecad.evaluation.latency import LatencyTable
from ecad.evaluation.prompts import PromptSet
from ecad.evaluation.samplers.base import Images, Job, Sampler, batches_of, jobs_for
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule

Scores = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Judges images by their prompts; higher is better."""

    @property
    def name(self) -> str: ...

    def __call__(self, prompts: Sequence[str], images: Images) -> Scores:
        """Scores of shape (n,) for n prompts and images of shape (n, height, width, 3)."""

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Raise ConfigError if it cannot judge images of this size (pixels) by one of these prompts."""


class ModelEvaluator:
    """Evaluates schedules of one model on fixed prompts and seeds.

    Prompts are encoded once, at construction. Images exist in memory for one batch at a time only.
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
        self._sampler = sampler
        self._scorer = scorer
        self._prompts = prompts
        self._workload = workload
        self._jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
        self._batch_size = batch_size
        self._latency_table = latency_table
        self._cost = cost
        self._on_images = on_images
        self._conditioning = sampler.encode(prompts.prompts, batch_size)

    @property
    def images_per_evaluation(self) -> int:
        return len(self._jobs)

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self.evaluate_schedule(candidate.schedule, candidate.key)

    def evaluate_schedule(self, schedule: Schedule, key: str | None = None) -> Evaluation:
        """The evaluation of one schedule; `scores` in the order of prompts, seeds innermost."""
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
        return Evaluation(
            key=key or schedule.digest(),
            cost=float(cost),
            quality=float(scores.mean()),
            scores=tuple(float(score) for score in scores),
            macs=macs,
            latency_s=latency_s,
        )

    def scores(self, schedule: Schedule | None) -> Scores:
        """Score of every image, shape (images,); without a schedule those of the untouched model."""
        parts = []
        for jobs, images in self.images(schedule):
            parts.append(self._scorer([self._prompts.prompts[job.prompt_index] for job in jobs], images))
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
