"""From a schedule to its evaluation: sample the run's images with it, score them, state the cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ecad.caching import applied
from ecad.errors import BrokenWorkerError, TransientEvaluationError
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
    ) -> None:
        self._sampler = sampler
        self._scorer = scorer
        self._prompts = prompts
        self._workload = workload
        self._jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
        self._batch_size = batch_size
        self._latency_table = latency_table
        self._cost = cost
        self._conditioning = sampler.encode(prompts.prompts, batch_size)

    @property
    def images_per_evaluation(self) -> int:
        return len(self._jobs)

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def batches(self) -> int:
        return math.ceil(len(self._jobs) / self._batch_size)

    def score_batch(self, schedule: Schedule, batch: int, pieces: int = 1) -> tuple[float, ...]:
        """Scores of one batch's images; see `ecad.records.Evaluator`."""
        jobs = self._jobs[batch * self._batch_size : (batch + 1) * self._batch_size]
        piece_size = max(1, math.ceil(len(jobs) / pieces))
        if pieces > 1 and torch.cuda.is_available():
            torch.cuda.empty_cache()  # what the larger batch left behind
        try:
            return tuple(
                float(score)
                for piece in batches_of(jobs, piece_size)
                for score in self._score(piece, self._sample(schedule, piece))
            )
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TransientEvaluationError(f"out of memory with batches of {piece_size} images") from error
        except RuntimeError as error:
            if "CUDA error" in str(error):  # no later call in this process can succeed
                reason = str(error).splitlines()[0]
                raise BrokenWorkerError(f"{reason}; start again, the log keeps what is done") from error
            raise

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        """The evaluation of a candidate; `scores` has one entry per batch, prompts in order, seeds innermost."""
        schedule = candidate.schedule
        all_scores = tuple(score for batch in scores for score in batch)
        macs = schedule_macs(schedule, self._workload)
        cost = macs / uncached_macs(schedule.steps, self._workload)
        latency_s = None
        if self._latency_table is not None:
            latency_s = self._latency_table.predict(schedule)
            if self._cost == "latency":
                cost = latency_s / self._latency_table.predict(Schedule.all_recompute(schedule.shape))
        return Evaluation(
            key=candidate.key,
            cost=float(cost),
            quality=float(np.array(all_scores).mean()),
            scores=all_scores,
            macs=macs,
            latency_s=latency_s,
        )

    def _sample(self, schedule: Schedule, jobs: Sequence[Job]) -> Images:
        """The schedule is on the model only while a batch is sampled."""
        with applied(self._sampler.pipe, schedule):
            return self._sampler.sample(self._conditioning, jobs)

    def _score(self, jobs: Sequence[Job], images: Images) -> Scores:
        return self._scorer([self._prompts.prompts[job.prompt_index] for job in jobs], images)
