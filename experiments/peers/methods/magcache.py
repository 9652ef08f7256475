"""MagCache of diffusers: the blocks' residual is reused while its length, calibrated, changes little."""

from __future__ import annotations

import ast
import contextlib
import io
from functools import cache

from bench import Bench
from diffusers.hooks import MagCacheConfig, apply_mag_cache
from peer import Setting

from methods.diffusers_hooks import cached

NAME = "diffusers MagCache"
CAPTIONS = 8  # of the search's, seeds 0, 1, ...


def settings(bench: Bench, front: str | None) -> list[Setting]:
    kinds = [(0.12, 3, 0.2), (0.24, 3, 0.05), (0.12, 3, 0.05)]
    return [
        cached(
            bench,
            f"threshold {threshold:g}, at most {most}, retention {kept:g}",
            apply_mag_cache,
            lambda threshold=threshold, most=most, kept=kept: MagCacheConfig(
                threshold=threshold,
                max_skip_steps=most,
                retention_ratio=kept,
                num_inference_steps=bench.steps,
                mag_ratios=list(ratios(bench)),
            ),
        )
        for threshold, most, kept in kinds
    ]


@cache
def ratios(bench: Bench) -> tuple[float, ...]:
    """By its own calibration, which prints them."""
    config = MagCacheConfig(calibrate=True, num_inference_steps=bench.steps)
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        cached(bench, "calibration", apply_mag_cache, lambda: config).switch(),
    ):
        bench.draw_search(CAPTIONS)
    [line] = [line for line in printed.getvalue().splitlines() if line.startswith("[") and "Mag" not in line]
    return tuple(ast.literal_eval(line))
