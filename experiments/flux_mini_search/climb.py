"""How good can parts of steps be below one cost? `python climb.py LIMIT START [...] [--rounds 25] [--captions 128]`.

Climbs directly below LIMIT (a share of the uncached compute) on flux-mini, from the schedules and heuristics START:
each round, eight changed copies of the best six below the limit and the best four just above it. Changes are of
components in all blocks of a step, of whole steps, and of steps in which only what surrounds the blocks runs. Search
captions choose. Prints the best five on all search captions and on the 96 held-out ones (image i from seed 9000 + i):
what a search would find there that looked nowhere else, on more captions than it can afford.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np
import torch

from ecad.arrays import BoolArray
from ecad.execution.local import LocalExecutor
from ecad.prompts import load_prompts
from ecad.records import Evaluation
from ecad.sampling.generation import ModelChoice
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import (
    GeneLayout,
    Schedule,
    effective,
    from_genome,
    gene_layout,
    heuristic,
    load_schedule,
    to_genome,
)
from ecad.scoring import make_quality
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.history import make_candidate

TOGETHER = 8  # schedules that are evaluated at once
BELOW, ABOVE = 6, 4  # parents
BAND, REACH = 0.025, 0.045  # costs below the limit that are tried, and above it that parents may have


def evaluator_on(subject: Subject, prompts: str, captions: int, first_seed: int) -> ModelEvaluator:
    return ModelEvaluator(
        subject.sampler,
        make_quality("alignment", "cpu"),
        load_prompts(prompts, captions),
        subject.workload,
        seeds_per_prompt=1,
        first_seed=first_seed,
        batch_size=32,
    )


@dataclass
class Answers:
    """Evaluations of genomes, each made once."""

    subject: Subject
    evaluator: ModelEvaluator
    known: dict[str, Evaluation] = field(default_factory=dict)

    def __call__(self, genomes: list[BoolArray]) -> list[Evaluation]:
        candidates = [
            make_candidate(genome, self.subject.shape, 1, number) for number, genome in enumerate(genomes)
        ]
        new = {each.key: each for each in candidates if each.key not in self.known}
        for candidate, evaluation in LocalExecutor(self.evaluator, together=TOGETHER).run(list(new.values())):
            self.known[candidate.key] = evaluation
        return [self.known[each.key] for each in candidates]


class Changes:
    """One to three random changes of a genome."""

    def __init__(self, layout: GeneLayout, random: np.random.Generator) -> None:
        self._random = random
        self._switch = np.unique(layout.switch)
        self._steps = [np.flatnonzero(layout.steps == step) for step in np.unique(layout.steps)]
        parts = [np.unique(layout.groups[genes]) for genes in self._steps]
        self._parts = [
            [
                genes
                for genes in (np.flatnonzero(layout.groups == part) for part in step)
                if genes[0] != switch
            ]
            for step, switch in zip(parts, self._switch, strict=True)
        ]

    def __call__(self, genome: BoolArray) -> BoolArray:
        child = genome.copy()
        for _ in range(int(self._random.choice([1, 2, 2, 3, 3]))):
            self._change(child)
        return child

    def _change(self, child: BoolArray) -> None:
        running = np.flatnonzero(child[self._switch])
        kind = self._random.random()
        other = int(self._random.integers(len(self._steps)))
        if kind < 0.1:  # what surrounds the blocks, alone
            switch = self._switch[other]
            recomputes = child[np.setdiff1d(self._steps[other], switch)].any()
            if not child[switch]:
                child[self._steps[other]] = False
                child[switch] = True
            elif not recomputes:
                child[switch] = False
            return
        if len(running) == 0:
            return
        step = int(self._random.choice(running))
        if kind < 0.55:
            part = self._parts[step][self._random.integers(len(self._parts[step]))]
            child[part] = child[part].mean() <= 0.5
        elif kind < 0.8:  # the step changes places with one nearby
            nearby = step + int(self._random.choice([-2, -1, 1, 2]))
            if 0 <= nearby < len(self._steps):
                here, there = self._steps[step], self._steps[nearby]
                child[here], child[there] = child[there], child[here]
        elif kind < 0.9:
            child[self._steps[other]] = child[self._steps[step]]
        else:
            child[self._steps[step]] = False


def climb(
    subject: Subject, limit: float, starts: list[Schedule], captions: int, rounds: int
) -> list[BoolArray]:
    """The genomes that were tried below the limit, best first."""
    answers = Answers(subject, evaluator_on(subject, "scenes-search", captions, 0))
    random = np.random.default_rng(0)
    change = Changes(gene_layout(subject.shape), random)
    genomes = [to_genome(schedule) for schedule in starts]
    seen = {genome.tobytes() for genome in genomes}
    results = answers(genomes)
    [uncached] = answers([to_genome(Schedule.all_recompute(subject.shape))])

    def ranked(low: float, high: float) -> list[int]:
        within = [index for index, each in enumerate(results) if low < each.cost <= high]
        return sorted(within, key=lambda index: -results[index].quality)

    for number in range(1, rounds + 1):
        parents = [*ranked(0.0, limit)[:BELOW], *ranked(limit, limit + REACH)[:ABOVE]]
        children: list[BoolArray] = []
        while len(children) < TOGETHER:
            child = change(genomes[random.choice(parents)])
            cost = answers.evaluator.cost_of(effective(from_genome(child, subject.shape)))
            if limit - BAND <= cost <= limit and child.tobytes() not in seen:
                seen.add(child.tobytes())
                children.append(child)
        genomes += children
        results += answers(children)
        best = results[ranked(0.0, limit)[0]]
        print(
            f"round {number}: {len(answers.known)} schedules, best {best.quality - uncached.quality:+.4f}",
            file=sys.stderr,
            flush=True,
        )
    return [genomes[index] for index in ranked(0.0, limit)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("limit", type=float)
    parser.add_argument("start", nargs="+")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--captions", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subject = prepare_subject(ModelChoice("flux-mini", "cpu", "auto", None, False))
    starts = [
        heuristic(text, subject.shape) if ":" in text else load_schedule(text) for text in options.start
    ]
    found = climb(subject, options.limit, starts, options.captions, options.rounds)[:5]
    uncached = to_genome(Schedule.all_recompute(subject.shape))
    print("| schedule | compute | captions | minus uncached | standard error |\n|---|---|---|---|---|")
    for prompts, captions, first_seed in (("scenes-search", 384, 0), ("scenes-heldout", 96, 9000)):
        reference, *results = Answers(subject, evaluator_on(subject, prompts, captions, first_seed))(
            [uncached, *found]
        )
        for rank, result in enumerate(results, start=1):
            lost = np.array(result.scores) - np.array(reference.scores)
            error = lost.std(ddof=1) / len(lost) ** 0.5
            print(
                f"| {rank} | {result.cost:.3f} | {captions} of {prompts} | {lost.mean():+.4f} | {error:.4f} |"
            )


if __name__ == "__main__":
    main()
