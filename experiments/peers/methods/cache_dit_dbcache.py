"""DBCache of cache-dit: where the first blocks' residual changes little, that of the others is reused or extrapolated.

F and B are the blocks at the beginning and the end that always run, W the steps of warm-up, M the most reused on end.
"""

from __future__ import annotations

from bench import Bench
from peer import Setting

from methods.cache_dit_switch import dbcache, load

NAME = "cache-dit DBCache"


def settings(bench: Bench, front: str | None) -> list[Setting]:
    load()

    def row(
        threshold: float, warmup: int, most: int, calibrator: str | None = None, first: int = 1
    ) -> Setting:
        limit = "" if most < 0 else f" M{most}"
        return dbcache(
            bench,
            f"F{first}B0 W{warmup}{limit} threshold {threshold:g}"
            + (f", {calibrator}" if calibrator else ""),
            calibrator,
            Fn_compute_blocks=first,
            Bn_compute_blocks=0,
            max_warmup_steps=warmup,
            max_continuous_cached_steps=most,
            residual_diff_threshold=threshold,
        )

    if bench.model == "pixart-mini":
        return [
            row(0.2, 4, -1),
            row(0.4, 4, -1),
            row(0.2, 4, -1, "taylorseer"),
            row(0.1, 4, -1),
            row(0.4, 1, 3),
        ]
    return [
        row(0.4, 1, 3),
        row(0.4, 1, 3, "taylorseer"),
        row(0.4, 4, -1),
        row(0.2, 1, 3, "taylorseer"),
        row(0.4, 1, 3, "dmd"),
        row(0.8, 1, 3),
        row(0.4, 1, 3, None, 2),
    ]
