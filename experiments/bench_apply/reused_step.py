"""A step in which all blocks are reused, against one in which all are computed: `python reused_step.py [--batch 1,32]`.

Of the minis, on one CPU thread, the transformer alone. The floor are blocks that return what they are given.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from bench import Bench

import ecad
from ecad.caching.modules import blocks_of
from ecad.schedule import heuristic

WAYS: dict[str, dict[str, Any]] = {
    "hooks": {"fast_path": False},
    "fast path": {"summed_runs": False},
    "fast path, summed runs": {"summed_runs": True},
}


def forward_s(bench: Bench) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        bench.transformer(**bench.inputs)
    return time.perf_counter() - start


def reused_steps(bench: Bench, options: dict[str, Any]) -> list[float]:
    """Seconds of the fully reused steps of one call, but for the first of them."""
    with ecad.applied(bench.transformer, heuristic("mask:0", bench.shape), **options) as handle:
        handle.reset()
        seconds = [forward_s(bench) for _ in range(bench.shape.steps)]
    return seconds[2:]


def floor_s(bench: Bench) -> list[float]:
    def nothing(*args: Any, **kwargs: Any) -> Any:
        states = kwargs.get("hidden_states", args[0] if args else None)
        text = kwargs.get("encoder_hidden_states")
        return states if bench.load.family == "pixart" else (text, states)

    with ExitStack() as stack:
        for block_list in bench.shape.spec.block_lists:
            for block in blocks_of(bench.transformer, block_list):
                stack.enter_context(patch.object(block, "forward", nothing))
        return [forward_s(bench) for _ in range(bench.shape.steps)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | batch | floor | " + " | ".join(WAYS) + " |\n|" + "---|" * (3 + len(WAYS)))
    for name in ("pixart-mini", "flux-mini"):
        for batch in map(int, options.batch.split(",")):
            bench = Bench(name, batch, torch.device("cpu"))
            forward_s(bench)
            full: list[float] = []
            reused: dict[str, list[float]] = {way: [] for way in WAYS}
            floor: list[float] = []
            for _ in range(options.rounds):
                for way, settings in WAYS.items():
                    rest = reused_steps(bench, settings)
                    full += [forward_s(bench)]
                    reused[way] += rest
                floor += floor_s(bench)
            base = statistics.median(full)
            cells = [
                statistics.median(floor) / base,
                *(statistics.median(reused[way]) / base for way in WAYS),
            ]
            print(f"| {name} | {batch} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
