"""The rows of a search's report: timed in this process, the rest of their images made by workers, if there are any.

Latencies are only comparable where nothing else runs, so the first batches of all rows are made here, in turn. What the
others add is quality, to which it does not matter where they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from ecad.errors import RunError, TransientEvaluationError
from ecad.execution import Executor
from ecad.measuring.comparison import Comparison, OnMeasured, compare
from ecad.measuring.measurements import Contender, Outcome
from ecad.progress import WorkerReport
from ecad.prompts import PromptSet
from ecad.records import BatchScores, Candidate, Evaluation, Evaluator
from ecad.sampling.generation import HELDOUT_FIRST_SEED
from ecad.sampling.subject import Subject
from ecad.schedule import Schedule, ScheduleShape
from ecad.scoring import Scorer
from ecad.searching.heldout import parts
from ecad.searching.settings import ResolvedSearchSettings
from ecad.searching.setup import PreparedRun, family_text, subject_elsewhere

# What is in doubt (`ecad.measuring.timing`) is not timed again: `ecad evaluate` takes the time for that.
_FURTHER_ROUNDS = 0

OnImages = Callable[[int, int, Sequence[WorkerReport]], None]


class RowEvaluator:
    """Scores the rows of a comparison batch by batch; see `ecad.records.Evaluator`.

    Of a candidate's schedule only the name counts, which is its row's: not every row has a schedule.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    @property
    def batches(self) -> int:
        return self._comparison.batches

    @property
    def batch_size(self) -> int:
        return self._comparison.batch_size

    def score_batch(self, schedules: Sequence[Schedule], batch: int, pieces: int = 1) -> BatchScores:
        """All rows are made in batches of one size, as they are where they are timed."""
        if pieces > 1:
            raise TransientEvaluationError(
                f"out of memory with batches of {self.batch_size} images: start anew with a smaller --batch-size"
            )
        return tuple(
            tuple(self._comparison.scores_of(schedule.name, batch).tolist()) for schedule in schedules
        )

    def combine(self, candidate: Candidate, scores: Sequence[Sequence[float]]) -> Evaluation:
        """The scores alone; what a row costs is known without its images."""
        values = tuple(value for batch in scores for value in batch)
        return Evaluation(candidate.key, 1.0, float(np.mean(values)), values, 0)


@dataclass(frozen=True)
class RowFactory:
    """Makes the same comparison in another process; can be pickled."""

    settings: ResolvedSearchSettings
    contenders: tuple[Contender, ...]
    prompts: PromptSet
    first_seed: int
    batch_size: int
    device: str
    threads: int
    family: str | None = None  # as in `EvaluatorFactory`

    def __call__(self) -> RowEvaluator:
        subject, scorer = subject_elsewhere(self.settings, self.device, self.threads, self.family)
        comparison = _comparison(
            self.settings, subject, scorer, self.contenders, self.prompts, self.first_seed, self.batch_size
        )
        subject.model.free_text_encoders()
        return RowEvaluator(comparison)


# An evaluator, and what makes it in another process on a device with so many threads -> the executor on it
RowExecutor = Callable[
    [Evaluator, Callable[[str, int], Callable[[], Evaluator]]], AbstractContextManager[Executor]
]


def measured_rows(
    run: PreparedRun,
    contenders: Sequence[Contender],
    executor_on: RowExecutor | None = None,
    on_images: OnImages = lambda done, total, workers: None,
    keep: OnMeasured = lambda measurement, jobs, images: None,
) -> list[Outcome]:
    """One outcome per contender, on the run's held-out prompts. Without `executor_on` all of it is done here.

    Scores are the same either way. `on_images(done, total, workers)` is called as images are made, and `keep` is given
    those that are made here.
    """
    settings, prompts = run.settings, run.heldout_prompts
    seeds, batch_size = settings.heldout_seeds_per_prompt, run.report_batch_size
    timed, *others = [prompts] if executor_on is None else parts(prompts, batch_size, seeds)
    total = len(contenders) * len(prompts) * seeds
    outcomes = compare(
        contenders,
        run.subject.sampler,
        [run.scorer],
        timed,
        seeds_per_prompt=seeds,
        first_seed=HELDOUT_FIRST_SEED,
        batch_size=batch_size,
        summed_runs=_summed_runs(settings),
        further_rounds=_FURTHER_ROUNDS,
        on_images=lambda done, _: on_images(done, total, ()),
        keep=keep,
    )
    if executor_on is None or not others:
        return outcomes
    [rest], first_seed = others, HELDOUT_FIRST_SEED + len(timed) * seeds
    comparison = _comparison(settings, run.subject, run.scorer, contenders, rest, first_seed, batch_size)
    evaluator = RowEvaluator(comparison)

    def factory_on(device: str, threads: int) -> RowFactory:
        family = family_text(run.subject.model.family)
        return RowFactory(settings, tuple(contenders), rest, first_seed, batch_size, device, threads, family)

    scores: dict[str, tuple[float, ...]] = {}
    with executor_on(evaluator, factory_on) as executor:
        for candidate, evaluation in executor.run(_candidates(contenders, run.shape)):
            if evaluation.failure is not None:
                raise RunError(f"the report's row {candidate.key} failed: {evaluation.failure}")
            scores[candidate.key] = evaluation.scores
            done = len(contenders) * len(timed) * seeds + len(scores) * len(rest) * seeds
            on_images(done, total, executor.workers)
    name = run.scorer.name
    return [
        replace(outcome, scores_by={name: np.concatenate([outcome.scores, scores[outcome.contender.name]])})
        for outcome in outcomes
    ]


def _candidates(contenders: Sequence[Contender], shape: ScheduleShape) -> list[Candidate]:
    """One per row, with its name; the costly ones first, so that no worker waits for the last."""
    costly_first = sorted(contenders, key=_share_of_work, reverse=True)
    carrier = Schedule.all_recompute(shape)
    return [
        Candidate(contender.name, carrier.replace(name=contender.name), "", 1, index)
        for index, contender in enumerate(costly_first)
    ]


def _share_of_work(contender: Contender) -> float:
    """Roughly: in steps."""
    share = 1.0 if contender.schedule is None else contender.schedule.recompute_fraction()
    return contender.steps * share


def _comparison(
    settings: ResolvedSearchSettings,
    subject: Subject,
    scorer: Scorer,
    contenders: Sequence[Contender],
    prompts: PromptSet,
    first_seed: int,
    batch_size: int,
) -> Comparison:
    return Comparison(
        contenders,
        subject.sampler,
        [scorer],
        prompts,
        seeds_per_prompt=settings.heldout_seeds_per_prompt,
        first_seed=first_seed,
        batch_size=batch_size,
        summed_runs=_summed_runs(settings),
    )


def _summed_runs(settings: ResolvedSearchSettings) -> bool | None:
    """As `ecad.apply` takes it: by default, or as the candidates were evaluated."""
    return True if settings.summed_runs else None
