"""Steps masks of cache-dit: the steps that compute are given, its own or others; the first block always runs."""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.cache_dit_switch import dbcache, load

NAME = "cache-dit steps mask"
_BY_HAND = {"flux-mini": (0, 1, 2, 5, 10, 15), "pixart-mini": (0, 2, 4, 7, 10, 13, 16)}


def settings(bench: Bench, front: str | None) -> list[Setting]:
    package = load()
    chosen = _BY_HAND[bench.model]
    masks = {
        "its fast": package.steps_mask(total_steps=bench.steps, mask_policy="fast"),
        f"steps {','.join(map(str, chosen))}": [int(step in chosen) for step in range(bench.steps)],
        "its medium": package.steps_mask(total_steps=bench.steps, mask_policy="medium"),
    }

    def row(name: str, mask: list[int], calibrator: str | None = None) -> Setting:
        return dbcache(
            bench,
            name + (f", {calibrator}" if calibrator else ""),
            calibrator,
            Fn_compute_blocks=1,
            Bn_compute_blocks=0,
            max_warmup_steps=1,
            steps_computation_mask=list(mask),
            steps_computation_policy="static",
        )

    fast, by_hand, medium = (row(name, mask) for name, mask in masks.items())
    return [fast, by_hand, row(by_hand.name, masks[by_hand.name], "taylorseer"), medium]
