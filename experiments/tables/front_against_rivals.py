"""Prints, of an `ecad evaluate` of a run's front beside rivals, whether one of them is better at the same cost.

    python front_against_rivals.py OUT RUN [SHARE ...] [--also FOLDER ...]

OUT is the evaluation's folder, RUN the run folder whose front is among its rows. For every other row: the front's best
schedule that costs at most as much (2 % apart count as equal), by the order of the search, which knows nothing of these
images; and that minus the row, with its 95 % interval. For every SHARE: the front's loss at most at this cost.
Rows of other evaluations on the same images, given by --also, are rivals, too.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from paired_differences import scores_of_rows

from ecad.measuring.statistics import Interval, paired_interval

EQUAL = 0.02  # relative difference of costs

Scores = Mapping[str, npt.NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("shares", nargs="*", type=float)
    parser.add_argument("--also", nargs="+", type=Path, default=[])
    parser.add_argument("--metric", default="alignment", help="one that the uncached row has, too")
    options = parser.parse_args()
    print("\n".join(tables(options.out, options.run, options.shares, options.also, options.metric)))


def tables(
    out: Path, run: Path, shares: Sequence[float], also: Sequence[Path] = (), metric: str = "alignment"
) -> list[str]:
    """Markdown: the front's loss at the shares, then a line for every rival, the most dangerous ones first."""
    for folder in (out, *also):
        if not (folder / "results.json").is_file():
            raise SystemExit(f"{folder} is no finished evaluation: it has no results.json")
    scores, seeds = scores_of_rows(out, metric)
    if "uncached" not in scores:
        raise SystemExit(f"the uncached row of {out} has no {metric}: give a metric that judges it, too")
    rows = json.loads((out / "results.json").read_text(encoding="utf-8"))["rows"]
    for other in also:
        further, _ = scores_of_rows(other, metric)
        if not np.array_equal(further["uncached"], scores["uncached"]):
            raise SystemExit(f"{other} has other images than {out}")
        rows += [
            row
            for row in json.loads((other / "results.json").read_text(encoding="utf-8"))["rows"]
            if row["name"] not in scores
        ]
        scores = {**further, **scores}
    costs = {row["name"]: 1.0 / row["speedup_macs"] for row in rows}
    front = [path.stem for path in sorted((run / "front").glob("*.yaml"))]  # the best first
    missing = [name for name in front if name not in scores]
    if missing:
        raise SystemExit(f"{out} has no row {missing[0]} of the front of {run}")
    uncached = next(row["name"] for row in rows if row["kind"] == "uncached")

    def at_most(cost: float) -> str | None:
        return next((name for name in front if costs[name] <= cost), None)

    lines = []
    if shares:
        lines += ["| compute at most | front | minus uncached |", "|---|---|---|"]
        for share in shares:
            name = at_most(share)
            loss = "" if name is None else _text(paired_interval(scores[name], scores[uncached], seeds))
            lines.append(
                f"| {share:g} | {'none' if name is None else f'{name} ({costs[name]:.3f})'} | {loss} |"
            )
        lines.append("")
    compared = []
    for row in rows:
        name = row["name"]
        ours = at_most(costs[name] * (1 + EQUAL))
        if name not in front and row["kind"] != "uncached" and ours is not None:
            compared.append((paired_interval(scores[ours], scores[name], seeds), ours, name))
    compared.sort(key=lambda each: each[0].high)
    better = sum(each[0].high < 0 for each in compared)
    lines += [
        f"{better} of {len(compared)} rivals better than the front at their cost (interval excluding zero).",
        "",
        "| rival | compute | minus uncached | front | front minus rival |",
        "|---|---|---|---|---|",
    ]
    for difference, ours, name in compared:
        loss = paired_interval(scores[name], scores[uncached], seeds)
        lines.append(
            f"| {name} | {costs[name]:.3f} | {_text(loss)} | {ours} ({costs[ours]:.3f}) | {_text(difference)} |"
        )
    return lines


def _text(interval: Interval) -> str:
    mean, low, high = (re.sub(r"^([+-])0\.", r"\1.", f"{value:+.3f}") for value in interval)
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
