"""Does fidelity to the uncached image say which schedule is better? `python signals.py MODEL RUN [RUN...]`.

Takes the schedules of finished searches that are nearest to their fronts, makes images of 32 search captions and of 96
held-out ones with each, and prints rank correlations between what the 32 say and the mean loss of score on the 96:
the mean loss itself; the mean and the worst tenth of the squared error against the uncached image (in its logarithm);
and the loss that the squared errors predict, image by image, by isotonic regression over all schedules. "At equal cost"
is after a cubic in the logarithm of cost is taken out: what a search has to tell apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from ecad.genetic.front import FrontTracker
from ecad.measuring.macs import schedule_macs, uncached_macs
from ecad.prompts import load_prompts
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import HELDOUT_FIRST_SEED, ModelChoice
from ecad.sampling.prefix_sharing import sample_sharing
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import (
    Schedule,
    effective,
    from_genome,
    genome_from_hex,
    genome_length,
    group_by_prefix,
)
from ecad.scoring import make_quality

SEARCHED, HELDOUT, BATCH = 32, 96, 32
COSTS, BINS = (0.1, 0.6), 12  # where schedules are taken from, as many from each bin
USEFUL_LOSS, DEAREST = 0.25, 0.45  # what is compared: schedules that a search has to tell apart

Array = np.ndarray


def nearest_to_front(subject: Subject, runs: list[Path], count: int) -> list[Schedule]:
    """Of each bin of costs the `count` that were least below the front of all runs together."""
    shape = subject.shape
    found: dict[str, tuple[float, float, Schedule]] = {}
    for line in chain.from_iterable((run / "evaluations.jsonl").open() for run in runs):
        record = json.loads(line)
        if record.get("scores"):
            genome = genome_from_hex(record["genome"], genome_length(shape))
            found[record["key"]] = record["cost"], record["quality"], effective(from_genome(genome, shape))
    tracker = FrontTracker()
    for cost, quality, _ in found.values():
        tracker.add(cost, quality)

    def behind(cost: float, quality: float) -> float:
        return max(best for known, best in tracker.points if known <= cost) - quality

    chosen: list[Schedule] = []
    edges = np.geomspace(*COSTS, BINS + 1)
    for low, high in pairwise(edges):
        members = [item for item in found.values() if low < item[0] <= high]
        members.sort(key=lambda item: behind(item[0], item[1]))
        chosen += [schedule for _, _, schedule in members[:count]]
    return [Schedule.all_recompute(shape), *chosen]


def measure(subject: Subject, schedules: list[Schedule]) -> tuple[Array, Array]:
    """Score and log of the mean squared error, each (schedules, images); the searched images come first."""
    scorer = make_quality("alignment", "cpu")
    scores, errors = [], []
    for name, count, seed in (
        ("scenes-search", SEARCHED, 0),
        ("scenes-heldout", HELDOUT, HELDOUT_FIRST_SEED),
    ):
        prompts, jobs = load_prompts(name, count), jobs_for(count, 1, seed)
        conditioning = subject.sampler.encode(prompts.prompts, BATCH)
        for start in range(0, count, BATCH):
            batch = jobs[start : start + BATCH]
            texts = [prompts.prompts[job.prompt_index] for job in batch]
            images: dict[int, Array] = {}
            for group in group_by_prefix(schedules, len(schedules)):
                together = [schedules[index] for index in group]
                made = sample_sharing(subject.sampler, conditioning, batch, together)  # type: ignore[arg-type]
                images.update(zip(group, made, strict=True))
            uncached = images[0].astype(np.float32)
            scores.append([scorer(texts, images[index]) for index in range(len(schedules))])
            squares = [((images[index] - uncached) ** 2).mean((1, 2, 3)) for index in range(len(schedules))]
            errors.append(np.log1p(squares))
    return np.concatenate(scores, axis=1), np.concatenate(errors, axis=1)


def isotonic(at: Array, values: Array) -> Array:
    """The non-decreasing function of `at` that is nearest to `values`, at the same places (pool adjacent violators)."""
    order = np.argsort(at, kind="stable")
    means: list[float] = []
    sizes: list[int] = []
    for value in values[order]:
        means.append(float(value))
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            size = sizes[-2] + sizes[-1]
            means[-2:] = [(means[-2] * sizes[-2] + means[-1] * sizes[-1]) / size]
            sizes[-2:] = [size]
    fitted = np.empty(len(values))
    fitted[order] = np.repeat(means, sizes)
    return fitted


def rank_correlation(first: Array, second: Array) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(ranks)[0, 1])


def rows(losses: Array, errors: Array, costs: Array) -> Iterator[tuple[str, float, float]]:
    """(signal, rank correlation with the held-out loss, the same at equal cost)."""
    searched, truth = losses[:, :SEARCHED], losses[:, SEARCHED:].mean(axis=1)
    seen = errors[:, :SEARCHED]
    predicted = isotonic(seen.ravel(), searched.ravel()).reshape(seen.shape).mean(axis=1)
    near = (costs < DEAREST) & (searched.mean(axis=1) < USEFUL_LOSS)
    place = np.log(costs[near])

    def at_equal_cost(values: Array) -> Array:
        return np.asarray(values[near] - np.polyval(np.polyfit(place, values[near], 3), place))

    signals = {
        "mean loss": searched.mean(axis=1),
        "mean log squared error": seen.mean(axis=1),
        "worst tenth of it": np.quantile(seen, 0.9, axis=1),
        "loss predicted from it": predicted,
        "half predicted, half mean": (predicted + searched.mean(axis=1)) / 2,
    }
    for name, values in signals.items():
        yield (
            name,
            rank_correlation(values[near], truth[near]),
            rank_correlation(at_equal_cost(values), at_equal_cost(truth)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--per-bin", type=int, default=6)
    options = parser.parse_args()
    subject = prepare_subject(ModelChoice(options.model, "cpu", "auto", None, False))
    schedules = nearest_to_front(subject, options.runs, options.per_bin)
    scores, errors = measure(subject, schedules)
    costs = np.array(
        [
            schedule_macs(each, subject.workload) / uncached_macs(each.steps, subject.workload)
            for each in schedules
        ]
    )
    print(f"{len(schedules) - 1} schedules\n")
    print(
        "| of 32 search images | rank correlation with the held-out loss | at equal cost |\n|---|---:|---:|"
    )
    for name, correlation, equal in rows((scores[0] - scores)[1:], errors[1:], costs[1:]):
        print(f"| {name} | {correlation:.2f} | {equal:.2f} |")


if __name__ == "__main__":
    main()
