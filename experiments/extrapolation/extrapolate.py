"""Is extrapolating the transformer's output better than reusing it? `python extrapolate.py MODEL [--images N]`.

At equal compute: in the steps of a mask the transformer runs, in between its output is reused, or continued along the
line through its last two outputs (over timesteps) with the whole slope or half of it. For each number of steps the mask
and the rule that are best on search captions meet the best mask with plain reuse on held-out captions.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ecad.measuring.statistics import paired_interval
from ecad.prompts import load_prompts
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import HELDOUT_FIRST_SEED, ModelChoice
from ecad.sampling.recording import calibrate
from ecad.sampling.subject import prepare_subject
from ecad.schedule import best_masks
from ecad.scoring import make_quality

SLOPES = {"reuse": 0.0, "half slope": 0.5, "linear": 1.0}
COUNTS = (3, 4, 5, 6, 8, 10)


@contextmanager
def extrapolated(transformer: Any, mask: tuple[int, ...], slope: float) -> Iterator[list[int]]:
    """The transformer runs in the steps of the mask only. Yields a counter to be reset before each call."""
    original = transformer.forward
    step = [0]
    outputs: list[tuple[float, torch.Tensor]] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        time = float(kwargs["timestep"].flatten()[0])
        if step[0] == 0:
            outputs.clear()
        if step[0] in mask:
            result = original(*args, **kwargs)
            outputs.append((time, result[0]))
            del outputs[:-2]
        step[0] += 1
        newest_time, newest = outputs[-1]
        if slope == 0.0 or len(outputs) < 2 or time == newest_time:
            return (newest,)
        earlier_time, earlier = outputs[0]
        share = slope * (time - newest_time) / (newest_time - earlier_time)
        return (newest + share * (newest - earlier),)

    transformer.forward = forward
    try:
        yield step
    finally:
        del transformer.forward


def neighbours(mask: tuple[int, ...], steps: int) -> list[tuple[int, ...]]:
    """The mask and those in which one of its steps is one earlier or later."""
    found = {mask}
    for index, change in itertools.product(range(1, len(mask)), (-1, 1)):
        moved = [*mask]
        moved[index] += change
        if 0 < moved[index] < steps and len(set(moved)) == len(mask):
            found.add(tuple(sorted(moved)))
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--heldout", type=int, default=96)
    options = parser.parse_args()
    subject = prepare_subject(ModelChoice(options.model, "cpu", "auto", None, False))
    sampler, scorer = subject.sampler, make_quality("alignment", "cpu")
    sets = {}
    for name, count, seed in (
        ("scenes-search", options.images, 0),
        ("scenes-heldout", options.heldout, HELDOUT_FIRST_SEED),
    ):
        prompts = load_prompts(name, count)
        sets[name] = (prompts, jobs_for(count, 1, seed), sampler.encode(prompts.prompts, 32))

    def scores(name: str, mask: tuple[int, ...], slope: float) -> np.ndarray:
        prompts, jobs, conditioning = sets[name]
        parts = []
        with extrapolated(subject.model.pipe.transformer, mask, slope) as step:
            for start in range(0, len(jobs), 32):
                step[0] = 0
                batch = jobs[start : start + 32]
                images = sampler.sample(conditioning, batch)
                parts.append(scorer([prompts.prompts[job.prompt_index] for job in batch], images))
        return np.concatenate(parts)

    masks = best_masks(calibrate(subject, sets["scenes-search"][0].prompts[:8], 8).output)
    steps = subject.shape.steps
    uncached = scores("scenes-heldout", tuple(range(steps)), 0.0).mean()
    print(
        "| steps run | best reuse | held-out minus uncached | best with extrapolation | minus best reuse, held-out |"
    )
    print("|---:|---|---:|---|---|")
    for count in COUNTS:
        found = {
            (rule, mask): scores("scenes-search", mask, slope).mean()
            for rule, slope in SLOPES.items()
            for mask in neighbours(masks[count], steps)
        }
        reuse = max((key for key in found if key[0] == "reuse"), key=found.__getitem__)
        other = max((key for key in found if key[0] != "reuse"), key=found.__getitem__)
        ours, theirs = (scores("scenes-heldout", mask, SLOPES[rule]) for rule, mask in (other, reuse))
        difference = paired_interval(ours, theirs)
        cells = (
            f"{count}",
            _numbers(reuse[1]),
            f"{theirs.mean() - uncached:+.3f}",
            f"{other[0]} {_numbers(other[1])}",
            f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def _numbers(mask: tuple[int, ...]) -> str:
    return ",".join(map(str, mask))


if __name__ == "__main__":
    main()
