"""What `ecad.apply(..., store="bfloat16")` changes in the images of the minis: `python stores.py`."""

from __future__ import annotations

import numpy as np
import torch

import ecad
from ecad.prompts import load_prompts
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import ModelChoice
from ecad.sampling.subject import prepare_subject
from ecad.schedule import load_schedule
from ecad.scoring.registry import make_quality

IMAGES = 32


def main() -> None:
    prompts = load_prompts("scenes-heldout", IMAGES).prompts
    print("| schedule | alignment, as they are | in bfloat16 | largest change of a pixel (of 255) | mean |")
    print("|---|---|---|---|---|")
    for model in ("pixart-mini", "flux-mini"):
        subject = prepare_subject(ModelChoice(model, "cpu"))
        scorer = make_quality("alignment", "cpu")
        conditioning = subject.sampler.encode(prompts, IMAGES)
        for name in ("fast", "faster", "fastest"):
            schedule = load_schedule(f"{model}/{name}")
            images = []
            for store in (None, "bfloat16"):
                with ecad.applied(subject.sampler.pipe, schedule, store=store):
                    images.append(subject.sampler.sample(conditioning, jobs_for(IMAGES, 1, 9000)))
            scores = [float(np.mean(scorer(prompts, each, None))) for each in images]
            change = np.abs(np.asarray(images[0], dtype=float) - np.asarray(images[1], dtype=float))
            print(
                f"| {model}/{name} | {scores[0]:.3f} | {scores[1]:.3f} | {change.max():.0f} | {change.mean():.3f} |"
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
