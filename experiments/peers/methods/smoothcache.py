"""SmoothCache (arXiv 2411.10510), calibrated by its own rule; run by ecad.

A component, in all blocks of a list, reuses its newest output while the relative L1 distance to what it would compute,
the mean over blocks and eight calibration captions, is below alpha, for at most three steps on end (its lookahead).
As in the paper, what is decided on are the layers right before a residual connection: in FLUX's single-stream blocks
`attn` and `proj_mlp` follow `proj_out`, which alone reads them. The authors' package (dit-smoothcache 0.1.1) runs a
given schedule and has no calibration in it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from bench import Bench
from peer import Setting

from ecad.caching.modules import component_modules
from ecad.prompts import load_prompts
from ecad.sampling.base import jobs_for
from ecad.schedule import Schedule
from methods.schedules import scheduled

NAME = "SmoothCache"
LOOKAHEAD = 3
CAPTIONS = 8  # of the search's, seeds 0, 1, ...
_ALPHAS = {"flux-mini": (0.2, 0.3, 0.15, 0.1), "pixart-mini": (0.15, 0.25, 0.35)}


def settings(bench: Bench, front: str | None) -> list[Setting]:
    # Calibrated where a row needs it, not where it is listed.
    return [
        Setting(f"alpha {alpha:g}", lambda alpha=alpha: _schedule_of(bench, alpha).switch())
        for alpha in _ALPHAS[bench.model]
    ]


@cache
def _schedule_of(bench: Bench, alpha: float) -> Setting:
    return scheduled(bench, f"smooth {alpha:g}", smooth(bench, alpha))


def smooth(bench: Bench, alpha: float) -> Schedule:
    shape = bench.subject.shape
    arrays = shape.filled(False)
    for name, distances in errors(bench).items():
        components = shape.spec.block_list(name).components
        for index, component in enumerate(components):
            decides = index
            if component.feeds is not None:
                decides = [other.name for other in components].index(component.feeds)
            newest = 0
            for step in range(1, shape.steps):
                if step - newest > LOOKAHEAD or distances[decides, newest, step] >= alpha:
                    arrays[name][step, :, index] = True
                    newest = step
    return Schedule(shape.family, arrays, name=f"smoothcache {alpha:g}")


@cache
@torch.no_grad()
def errors(bench: Bench) -> dict[str, np.ndarray]:
    """Per block list (components, steps, steps): [c, s, t] is |output of s - output of t| / |output of t| in L1."""
    subject, sampler = bench.subject, bench.subject.sampler
    outputs: dict[tuple[str, int, int], list[torch.Tensor]] = {}

    def watch(key, module):
        def hook(_module, _arguments, output):
            parts = output if isinstance(output, tuple) else (output,)
            outputs.setdefault(key, []).append(torch.cat([part.flatten() for part in parts]))

        return module.register_forward_hook(hook)

    modules = component_modules(bench.pipe.transformer, subject.model.family)
    hooks = [watch(key, module) for key, module in modules.items()]
    try:
        conditioning = sampler.encode(load_prompts("scenes-search", CAPTIONS).prompts, CAPTIONS)
        sampler.sample(conditioning, jobs_for(CAPTIONS, 1, 0))
    finally:
        for hook in hooks:
            hook.remove()
    result = {}
    for name, (steps, _, components) in subject.shape.array_shapes().items():
        result[name] = np.zeros((components, steps, steps))
        present = subject.shape.present[name]
        for block, component in zip(*np.nonzero(present), strict=True):
            found = torch.stack(outputs.pop((name, int(block), int(component))))
            for step in range(steps):
                far = (found - found[step]).abs().sum(dim=1) / found[step].abs().sum()
                result[name][component, :, step] += far.numpy() / present[:, component].sum()
    return result
