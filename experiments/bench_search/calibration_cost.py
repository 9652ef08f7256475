"""What a calibration costs: `python calibration_cost.py`. Processor time on one core of a pass over eight prompts that
is recorded, as a multiple of the same images without; both minis, three in turn after one for nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from ecad.prompts import load_prompts
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import ModelChoice
from ecad.sampling.recording import CALIBRATION_PROMPTS, calibrate
from ecad.sampling.subject import prepare_subject


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    for model in ("pixart-mini", "flux-mini"):
        subject = prepare_subject(ModelChoice(model, "cpu", "auto", None, False))
        prompts = load_prompts("scenes-search", CALIBRATION_PROMPTS).prompts
        encoded = subject.sampler.encode(prompts, CALIBRATION_PROMPTS)
        plain = partial(subject.sampler.sample, encoded, jobs_for(CALIBRATION_PROMPTS, 1, 0))
        recorded = partial(calibrate, subject, prompts, CALIBRATION_PROMPTS)
        ratios = [1.0 / seconds(plain) * seconds(recorded) for _ in range(4)][1:]
        print(f"{model}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
