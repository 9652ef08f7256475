"""Peers side by side: `python experiments/peers/compare.py` measures every setting of every method on both minis.

What is in the log of --out is not measured again. Afterwards, or meanwhile, table.py and plot.py read it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from itertools import zip_longest
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")

import diffusers
import torch
from bench import REPEATS, TIMED, Bench, ChangedError
from log import Log
from methods import all_methods
from peer import DoesNotFitError, Method, Setting

from ecad.errors import first_line
from ecad.measuring.environment import environment, versions

MODELS = ("flux-mini", "pixart-mini")
OUT = Path(__file__).parent / "results"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    log = Log(options.out / "log.jsonl")
    benches = []
    for model in options.models:
        kept = options.out / f"uncached-{model}.npz"
        bench = Bench(model, options.captions, options.timed, options.repeats, kept)
        facts = environment(bench.subject.model.device, bench.pipe.transformer.dtype)
        log.add_uncached(bench, {**facts, **versions("cache-dit", "tgate")})
        benches.append(bench)
    queues = [
        [(bench, method, each) for each in _settings(log, bench, method, options)]
        for method in all_methods()
        if options.methods is None or method.NAME in options.methods
        for bench in benches
    ]
    # Every method's most telling settings first: what a stopped run has is of all of them.
    todo = [each for rank in zip_longest(*queues) for each in rank if each is not None]
    for number, (bench, method, setting) in enumerate(todo, start=1):
        key = (bench.model, method.NAME, setting.name)
        if key in log:
            continue
        start = time.perf_counter()
        try:
            measured = bench.measure(setting)
        except ChangedError:
            raise
        except Exception as error:  # whatever a peer says to a model that it was not made for
            log.add_unfit(key, f"{type(error).__name__}: {first_line(error)}")
            result = log.lines[-1]["reason"]
        else:
            log.add_row(key, measured)
            result = (
                f"{measured.flops / bench.uncached_flops:.3f} of the compute, "
                f"alignment {measured.alignment.mean():.3f} "
                f"({measured.alignment.mean() - bench.uncached_alignment.mean():+.3f})"
            )
        seconds = time.perf_counter() - start
        print(f"{number}/{len(todo)} {' | '.join(key)}: {result}; {seconds:.0f} s", flush=True)


def _settings(log: Log, bench: Bench, method: Method, options: argparse.Namespace) -> list[Setting]:
    fronts = dict(text.split("=", 1) for text in options.front)
    try:
        return list(method.settings(bench, fronts.get(bench.model)))[: options.settings]
    except DoesNotFitError as reason:
        key = (bench.model, method.NAME, "")
        if key not in log:
            log.add_unfit(key, str(reason))
            print(f"{bench.model} | {method.NAME}: {reason}", flush=True)
        return []


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the log")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these, by the names in the table")
    parser.add_argument("--settings", type=int, metavar="N", help="only the first N settings of each method")
    parser.add_argument(
        "--captions", type=int, default=96, help="of scenes-heldout; image i from seed 9000 + i"
    )
    parser.add_argument("--timed", type=int, default=TIMED, help="images in a timed batch")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="timed batches of each row")
    parser.add_argument(
        "--front",
        action="append",
        default=[],
        metavar="MODEL=RUN",
        help="a run folder in place of bundled schedules",
    )
    options = parser.parse_args()
    known = [method.NAME for method in all_methods()]
    for name in options.methods or []:
        if name not in known:
            parser.error(f"unknown method {name!r}: there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
