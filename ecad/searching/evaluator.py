"""From a schedule to its evaluation: sample the run's images with it, score them, state the cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from ecad.arrays import Images, Scores
from ecad.caching import applied
from ecad.errors import BrokenWorkerError, TransientEvaluationError, first_line
from ecad.measuring.latency_table import TimeTable
from ecad.measuring.macs import Work, executed, schedule_macs, uncached_macs
from ecad.measuring.stored_memory import most_held_bytes, too_large
from ecad.prompts import PromptSet
from ecad.records import BatchScores, Candidate, Evaluation
from ecad.sampling.base import Job, Sampler, SteppedSampler, jobs_for
from ecad.sampling.prefix_sharing import sample_sharing
from ecad.schedule import Schedule
from ecad.scoring import Scorer, check_scores

_LOGGER = logging.getLogger(__name__)


class ModelEvaluator:
    """Evaluates schedules of one model on fixed prompts and seeds; see `ecad.records.Evaluator`.

    Prompts are encoded once, at construction. Images exist in memory for one batch at a time only; but a
    scorer that needs references keeps the uncached model's images, each batch made once at its first use (as
    uint8: 20 MB for 100 images of 256 x 256). `scorer` must have higher scores for better images (see
    `as_quality`). The cost is relative to recomputing everything: of MACs, or of predicted seconds with a
    table of them. With `summed_runs` each schedule is on the model for itself and is followed as
    `ecad.apply(..., summed_runs=True)` does, unless what it stores cannot fit into `free_bytes`; otherwise schedules
    share their common first steps.
    """

    def __init__(
        self,
        sampler: Sampler,
        scorer: Scorer,
        prompts: PromptSet,
        workload: Work,
        *,
        seeds_per_prompt: int,
        first_seed: int,
        batch_size: int,
        latency_table: TimeTable | None = None,
        cost: str = "macs",
        summed_runs: bool = False,
        free_bytes: int | None = None,
    ) -> None:
        if not scorer.higher_is_better:
            raise ValueError(f"{scorer.name} is lower for better images: pass as_quality(scorer)")
        self.prompts = prompts
        self.first_seed = first_seed
        self._sampler = sampler
        self._scorer = scorer
        self._workload = workload
        self._jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
        self._batch_size = batch_size
        self._latency_table = latency_table
        self._cost = cost
        self._summed_runs = summed_runs
        self._free_bytes = free_bytes
        self._references: dict[int, Images] = {}  # by batch number
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

    def score_batch(self, schedules: Sequence[Schedule], batch: int, pieces: int = 1) -> BatchScores:
        """Scores of one batch's images; see `ecad.records.Evaluator`. They may be no finite numbers."""
        piece_size = self._piece_size(batch, pieces)
        self._refuse_too_large(schedules, min(piece_size, len(self._batch_jobs(batch))))
        if pieces > 1 and torch.cuda.is_available():
            torch.cuda.empty_cache()  # what the larger batch left behind
        try:
            return tuple(tuple(scores.tolist()) for scores in self._scores(schedules, batch, piece_size))
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise TransientEvaluationError(f"out of memory with batches of {piece_size} images") from error
        except RuntimeError as error:
            if "CUDA error" in str(error):  # no later call in this process can succeed
                raise BrokenWorkerError(
                    f"{first_line(error)}; start again, the log keeps what is done"
                ) from error
            raise

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        """The evaluation of a candidate; `scores` has one entry per batch, prompts in order, seeds innermost.

        With a score that is not a finite number the evaluation counts as failed: its quality is NaN, which no
        front takes. Raises ScoreError if that happens to the model's own images, without any reuse.
        """
        schedule = candidate.schedule
        all_scores = np.array([score for batch in scores for score in batch], dtype=np.float64)
        table = self._latency_table
        return Evaluation(
            key=candidate.key,
            cost=self.cost_of(schedule),
            quality=self._quality(schedule, all_scores),
            scores=tuple(all_scores.tolist()),
            macs=schedule_macs(schedule, self._workload),
            latency_s=None if table is None else table.predict(executed(schedule, self._workload)),
        )

    def cost_of(self, schedule: Schedule) -> float:
        """The schedule's cost relative to recomputing everything, known without an image."""
        if self._latency_table is not None and self._cost != "macs":
            uncached = self._latency_table.predict(Schedule.all_recompute(schedule.shape))
            return float(self._latency_table.predict(executed(schedule, self._workload)) / uncached)
        return float(schedule_macs(schedule, self._workload) / uncached_macs(schedule.steps, self._workload))

    def scores(self, schedule: Schedule | None) -> Scores:
        """Score of every image, shape (images,); without a schedule those of the untouched model."""
        return np.concatenate(
            [self._scores([schedule], batch, self._batch_size)[0] for batch in range(self.batches)]
        )

    def _refuse_too_large(self, schedules: Sequence[Schedule], images: int) -> None:
        """Before memory runs out, which on a CPU ends the process."""
        if not self._summed_runs or self._free_bytes is None:
            return
        size = self._sampler.pipe.transformer.dtype.itemsize
        for schedule in schedules:
            held = most_held_bytes(schedule, self._workload, size, summed_runs=True)
            reason = too_large(held, images, self._free_bytes)
            if reason is not None:
                raise TransientEvaluationError(reason)

    def _quality(self, schedule: Schedule, scores: Scores) -> float:
        if np.isfinite(scores).all():
            return float(scores.mean())
        if schedule.recompute_fraction() == 1.0:
            check_scores(self._scorer, scores, self._prompts_of(self._jobs), "the uncached image")
        failed = int(np.count_nonzero(~np.isfinite(scores)))
        _LOGGER.warning(
            "%s gave no finite number for %d of %d images of schedule %s: it counts as failed",
            self._scorer.name,
            failed,
            len(scores),
            schedule.digest(),
        )
        return math.nan

    def _scores(self, schedules: Sequence[Schedule | None], batch: int, piece_size: int) -> list[Scores]:
        """Scores of one batch's images for each schedule, made `piece_size` at a time."""
        jobs = self._batch_jobs(batch)
        references = self._reference_images(batch) if self._scorer.needs_reference else None
        parts: list[list[Scores]] = [[] for _ in schedules]
        for start in range(0, len(jobs), piece_size):
            piece = slice(start, start + piece_size)
            compared = None if references is None else references[piece]
            for collected, images in zip(parts, self._sample(schedules, jobs[piece]), strict=True):
                scores = self._scorer(self._prompts_of(jobs[piece]), images, compared)
                collected.append(np.asarray(scores, dtype=np.float64))
        return [np.concatenate(collected) for collected in parts]

    def _sample(self, schedules: Sequence[Schedule | None], jobs: Sequence[Job]) -> Iterator[Images]:
        """Each schedule is on the model only while its images are sampled."""
        together = [schedule for schedule in schedules if schedule is not None]
        can_share = len(together) == len(schedules) > 1 and not self._summed_runs
        if can_share and isinstance(self._sampler, SteppedSampler):
            yield from sample_sharing(self._sampler, self._conditioning, jobs, together)
            return
        for schedule in schedules:
            with (
                nullcontext()
                if schedule is None
                # Without sums: the same arithmetic as where first steps are shared.
                else applied(self._sampler.pipe, schedule, summed_runs=self._summed_runs)
            ):
                images = self._sampler.sample(self._conditioning, jobs)
            yield images

    def _reference_images(self, batch: int) -> Images:
        """The untouched model's images of a batch, always made all at once: no score depends on the pieces."""
        if batch not in self._references:
            [self._references[batch]] = self._sample([None], self._batch_jobs(batch))
        return self._references[batch]

    def _batch_jobs(self, batch: int) -> Sequence[Job]:
        return self._jobs[batch * self._batch_size : (batch + 1) * self._batch_size]

    def _piece_size(self, batch: int, pieces: int) -> int:
        return max(1, math.ceil(len(self._batch_jobs(batch)) / pieces))

    def _prompts_of(self, jobs: Sequence[Job]) -> list[str]:
        return [self.prompts.prompts[job.prompt_index] for job in jobs]
