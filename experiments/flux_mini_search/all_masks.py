"""What the best masks of four whole steps lose on the held-out captions themselves: `python all_masks.py [CAPTIONS]`.

Masks 0,a,b,c with a up to 4, b from a + 2 to 10 and c from b + 2 to 17, of flux-mini's 20 steps; image i from seed
9000 + i. Chosen on the very captions that judge it, the best is a bound: no search that chooses by other captions can
be expected to find a better mask. Prints the ten best, by loss of alignment.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from ecad.execution.local import LocalExecutor
from ecad.prompts import load_prompts
from ecad.sampling.generation import ModelChoice
from ecad.sampling.subject import prepare_subject
from ecad.schedule import Schedule, heuristic, to_genome
from ecad.scoring import make_quality
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.history import make_candidate

TOGETHER = 16


def main(captions: int) -> None:
    torch.set_num_threads(1)
    subject = prepare_subject(ModelChoice("flux-mini", "cpu", "auto", None, False))
    evaluator = ModelEvaluator(
        subject.sampler,
        make_quality("alignment", "cpu"),
        load_prompts("scenes-heldout", captions),
        subject.workload,
        seeds_per_prompt=1,
        first_seed=9000,
        batch_size=32,
    )
    masks = [(0, a, b, c) for a in range(1, 5) for b in range(a + 2, 11) for c in range(b + 2, 18)]
    named = {f"output:{','.join(map(str, mask))}" for mask in masks}
    schedules = {name: heuristic(name, subject.shape) for name in sorted(named)}
    schedules["uncached"] = Schedule.all_recompute(subject.shape)
    candidates = {
        name: make_candidate(to_genome(schedule), subject.shape, 1, number)
        for number, (name, schedule) in enumerate(schedules.items())
    }
    executor = LocalExecutor(evaluator, together=TOGETHER)
    found = {}
    for number, (candidate, evaluation) in enumerate(executor.run(list(candidates.values())), start=1):
        found[candidate.key] = np.array(evaluation.scores)
        print(f"{number}/{len(candidates)}", end="\r", file=sys.stderr, flush=True)
    uncached = found[candidates.pop("uncached").key]
    losses = {name: found[candidate.key] - uncached for name, candidate in candidates.items()}
    print(
        f"{len(losses)} masks, {captions} captions\n\n| mask | minus uncached | standard error |\n|---|---|---|"
    )
    for name in sorted(losses, key=lambda name: -losses[name].mean())[:10]:
        error = losses[name].std(ddof=1) / len(losses[name]) ** 0.5
        print(f"| {name} | {losses[name].mean():+.4f} | {error:.4f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "captions", nargs="?", type=int, choices=range(2, 193), metavar="CAPTIONS", default=96
    )
    main(parser.parse_args().captions)
