"""Several ways to make the same images, compared in one run: quality on shared noises, latency side by side.

`Comparison` yields what one contender did in one batch, so that a caller may store it and continue later;
`compare` does all at once. `ecad search` (its held-out report) and `ecad evaluate` are both built on it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from ecad.arrays import Images, Scores
from ecad.caching import applied
from ecad.errors import ConfigError, TransientEvaluationError
from ecad.measuring.contender_work import work_of
from ecad.measuring.measurements import Contender, Key, Measurement, Outcome, Retiming
from ecad.measuring.memory import PeakMemory
from ecad.measuring.timing import FURTHER_ROUNDS, doubtful
from ecad.prompts import PromptSet
from ecad.sampling.base import Job, Sampler, batches_of, jobs_for
from ecad.scoring.base import Scorer, check_scores

OnMeasured = Callable[[Measurement, Sequence[Job], Images], None]


class Comparison:
    """The first contender is the uncached model: its images are the references of fidelity metrics.

    All contenders do one batch before any does the next, so slow drifts of the machine hit all alike; another one is
    first in each batch. `time_again` then times those that something seems to have disturbed.
    `summed_runs` is as `ecad.apply` takes it.
    """

    def __init__(
        self,
        contenders: Sequence[Contender],
        sampler: Sampler,
        scorers: Sequence[Scorer],
        prompts: PromptSet,
        *,
        seeds_per_prompt: int,
        first_seed: int,
        batch_size: int,
        summed_runs: bool | None = None,
    ) -> None:
        if not contenders or contenders[0].schedule is not None or contenders[0].pipeline is not None:
            raise ConfigError("the first row of a comparison must be the uncached model")
        self.contenders = tuple(contenders)
        self._summed_runs = summed_runs
        self.jobs = jobs_for(len(prompts), seeds_per_prompt, first_seed)
        self.batch_size = batch_size
        self._batches = list(batches_of(self.jobs, batch_size))
        self._scorers = tuple(scorers)
        self._prompts = prompts.prompts
        self._conditioning = sampler.encode(prompts.prompts, batch_size)
        self._references: dict[int, Images] = {}  # of batches whose scores were asked for one by one
        # At chosen noise levels: those of the uncached model's steps.
        ways = {
            (item.steps, None) if item.levels is None else (contenders[0].steps, item.levels)
            for item in contenders
            if item.pipeline is None
        }
        self._is_warm = False
        self._are_videos = False  # known after the warm-up
        self._samplers = {way: sampler.with_steps(*way) for way in ways}

    def all_keys(self) -> list[Key]:
        """Of all measurements that make up the comparison."""
        return [(item.name, number) for number in range(len(self._batches)) for item in self.contenders]

    def run(self, done: Container[Key] = frozenset()) -> Iterator[tuple[Measurement, Sequence[Job], Images]]:
        """Measure everything that is not `done`; yields each measurement with its jobs and images.

        Raises ScoreError for a score that is not a finite number.
        """
        if all(key in done for key in self.all_keys()):
            return
        self._warm_up()
        count = len(self.contenders)
        for number, batch in enumerate(self._batches):
            order = [self.contenders[(place + number) % count] for place in range(count)]
            missing = [contender for contender in order if (contender.name, number) not in done]
            references: Images | None = None
            if missing and self._needs_references and self.contenders[0] not in missing:
                references = self._images(self.contenders[0], batch)[0]
            # Fidelity is judged only once the uncached images are there, which come at their own turn.
            waiting: list[tuple[Contender, Images, float, int | None]] = []
            for contender in missing:
                images, seconds, memory = self._measured(contender, batch)
                if contender is self.contenders[0]:
                    references = images
                waiting.append((contender, images, seconds, memory))
                if references is None and self._needs_references:
                    continue
                for other, others_images, others_seconds, others_memory in waiting:
                    scores = self._scores(other, batch, others_images, references)
                    digest = hashlib.sha256(others_images.tobytes()).hexdigest()
                    macs = None if other.pipeline is None else other.pipeline.macs
                    measurement = Measurement(
                        other.name, number, len(batch), scores, others_seconds, digest, others_memory, macs
                    )
                    yield measurement, batch, others_images
                waiting.clear()

    def time_again(
        self, measurements: Iterable[Measurement], done: Iterable[Retiming] = (), rounds: int = FURTHER_ROUNDS
    ) -> Iterator[Retiming]:
        """Further timings, in turn, of those whose times are in doubt (`ecad.measuring.timing`), `done` ones apart; in
        at most so many `rounds`.

        `measurements` are those of all batches. Images are made again and thrown away.
        """
        measurements, retimings = list(measurements), list(done)
        work = work_of(self.contenders)
        while True:
            latencies = {each.contender.name: each.latency for each in self.outcomes(measurements, retimings)}
            names = set(doubtful(latencies, work))
            counts = Counter(each.contender for each in retimings)
            again = [each for each in self.contenders if each.name in names and counts[each.name] < rounds]
            if not again:
                return
            if not self._is_warm:
                self._warm_up()
            for contender in again:
                _, seconds, _ = self._measured(contender, self._batches[0])
                retimings.append(Retiming(contender.name, seconds))
                yield retimings[-1]

    def outcomes(
        self, measurements: Iterable[Measurement], retimings: Iterable[Retiming] = ()
    ) -> list[Outcome]:
        """One per contender, from the measurements of all batches in any order, and further timings."""
        again: dict[str, list[float]] = {}
        for each in retimings:
            again.setdefault(each.contender, []).append(each.seconds_per_image)
        by_key = {measurement.key: measurement for measurement in measurements}
        result = []
        for contender in self.contenders:
            own = [by_key[contender.name, number] for number in range(len(self._batches))]
            # A smaller last batch has another latency.
            full = [item for item in own if item.images == self.batch_size or item.batch == 0]
            memories = [item.peak_memory_bytes for item in own if item.peak_memory_bytes is not None]
            result.append(
                Outcome(
                    contender,
                    {name: np.concatenate([item.scores[name] for item in own]) for name in own[0].scores},
                    np.array([item.seconds_per_image for item in full]),
                    tuple(item.images_sha256 for item in own),
                    max(memories, default=None),
                    own[0].pipeline_macs,
                    tuple(again.get(contender.name, ())),
                )
            )
        return result

    @property
    def batches(self) -> int:
        return len(self._batches)

    def scores_of(self, name: str, batch: int) -> Scores:
        """Scores of the first scorer for one contender's images of one batch; nothing is timed.

        The uncached images of a batch, where they are needed, are made at its first use and kept.
        """
        contender = next(item for item in self.contenders if item.name == name)
        jobs = self._batches[batch]
        references = None
        if self._needs_references:
            if batch not in self._references:
                self._references[batch] = self._images(self.contenders[0], jobs)[0]
            references = self._references[batch]
        images = self._images(contender, jobs)[0]
        return self._scores(contender, jobs, images, references)[self._scorers[0].name]

    @property
    def _needs_references(self) -> bool:
        return any(scorer.needs_reference for scorer in self._scorers)

    def _warm_up(self) -> None:
        """One batch of the uncached model, whose steps are those of all its rows, and one per other pipeline."""
        self._is_warm = True
        uncached = self._sampler_of(self.contenders[0])
        self._are_videos = uncached.sample(self._conditioning, self._batches[0]).ndim == 5
        for contender in self.contenders:
            if contender.pipeline is not None:
                images, _ = self._images(contender, self._batches[0])
                self._check_size(contender, images)

    def _check_size(self, contender: Contender, images: Images) -> None:
        """Another pipeline's images may have another size, which is known only once it has made some."""
        if (images.ndim == 5) != self._are_videos:
            own, other = ("videos", "images") if self._are_videos else ("images", "videos")
            raise ConfigError(
                f"{contender.name} makes {other}, the model makes {own}: they cannot be compared"
            )
        try:
            for scorer in self._scorers:
                if not scorer.needs_reference:
                    scorer.check(self._prompts, *images.shape[-3:-1])
        except ConfigError as error:
            raise ConfigError(f"{contender.name}: {error}") from None

    def _measured(self, contender: Contender, batch: Sequence[Job]) -> tuple[Images, float, int | None]:
        """Images, seconds per image and, on a CUDA GPU, peak bytes."""
        pipe = self._sampler_of(self.contenders[0]).pipe
        if contender.pipeline is not None:
            pipe = contender.pipeline.pipe
        memory = PeakMemory(pipe)
        try:
            with memory:
                images, seconds = self._images(contender, batch)
        except torch.OutOfMemoryError as error:
            raise TransientEvaluationError(
                f"out of memory in {contender.name} with batches of {self.batch_size} images: free the device and "
                "run the same command again, or start anew with a smaller --batch-size"
            ) from error
        return images, seconds / len(batch), memory.peak_bytes

    def _images(self, contender: Contender, batch: Sequence[Job]) -> tuple[Images, float]:
        """Images of a batch and the seconds that it took."""
        if contender.pipeline is not None:
            return contender.pipeline.sample(self._captions(batch), batch)
        sampler = self._sampler_of(contender)
        context: AbstractContextManager[object] = nullcontext()
        if contender.schedule is not None:
            context = applied(sampler.pipe, contender.schedule, summed_runs=self._summed_runs)
        with context:
            return sampler.sample_timed(self._conditioning, batch)

    def _sampler_of(self, contender: Contender) -> Sampler:
        if contender.levels is None:
            return self._samplers[contender.steps, None]
        return self._samplers[self.contenders[0].steps, contender.levels]

    def _scores(
        self, contender: Contender, batch: Sequence[Job], images: Images, references: Images | None
    ) -> dict[str, Scores]:
        captions = self._captions(batch)
        scores = {}
        for scorer in self._scorers:
            if scorer.needs_reference and contender.pipeline is not None:
                continue  # another model's images are no attempt at the uncached ones
            judged = scorer(captions, images, references if scorer.needs_reference else None)
            scores[scorer.name] = check_scores(scorer, judged, captions, f"an image by {contender.name}")
        return scores

    def _captions(self, batch: Sequence[Job]) -> list[str]:
        return [self._prompts[job.prompt_index] for job in batch]


def compare(
    contenders: Sequence[Contender],
    sampler: Sampler,
    scorers: Sequence[Scorer],
    prompts: PromptSet,
    *,
    seeds_per_prompt: int,
    first_seed: int,
    batch_size: int,
    summed_runs: bool | None = None,
    further_rounds: int = FURTHER_ROUNDS,
    on_images: Callable[[int, int], None] | None = None,
    keep: OnMeasured = lambda measurement, jobs, images: None,
) -> list[Outcome]:
    """The whole comparison at once. `on_images(done, total)` is called after each batch of each contender, and `keep`
    is given its images. What is in doubt is timed again in at most so many `further_rounds`."""
    comparison = Comparison(
        contenders,
        sampler,
        scorers,
        prompts,
        seeds_per_prompt=seeds_per_prompt,
        first_seed=first_seed,
        batch_size=batch_size,
        summed_runs=summed_runs,
    )
    measurements = []
    done, total = 0, len(comparison.jobs) * len(comparison.contenders)
    for measurement, batch, images in comparison.run():
        measurements.append(measurement)
        keep(measurement, batch, images)
        done += len(batch)
        if on_images is not None:
            on_images(done, total)
    return comparison.outcomes(measurements, list(comparison.time_again(measurements, rounds=further_rounds)))
