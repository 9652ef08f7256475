"""Prints pairs of rows of several `ecad evaluate`s as a Markdown table.

    python paired_table.py METRIC "ROW=OTHER[;ROW=OTHER...]" FOLDER [FOLDER...]

For each pair and folder: the two means, and ROW minus OTHER with its 95 % bootstrap interval over prompts. From the
second folder on also what became of that difference: it minus the first folder's, on the prompts (the first ones) that
both have, or, where the folders' prompts are not the same, from independent resampling.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from paired_differences import scores_of_rows

from ecad.measuring.statistics import Interval, paired_interval

Differences = npt.NDArray[np.float64]  # shape (prompts,)

_RESAMPLES = 10_000
_SEED = 20_240_602


def change(differences: Differences, first: Differences, same_prompts: bool) -> Interval:
    """Mean of `differences` minus that of `first`."""
    if same_prompts:
        count = min(len(differences), len(first))
        return paired_interval(differences[:count], first[:count])
    rng = np.random.default_rng(_SEED)

    def means(values: Differences) -> Differences:
        return np.asarray(values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1))

    low, high = np.quantile(means(differences) - means(first), [0.025, 0.975])
    return Interval(float(differences.mean() - first.mean()), float(low), float(high))


def written(interval: Interval, digits: int) -> str:
    mean, low, high = (f"{value:+.{digits}f}" for value in interval)
    return f"{mean} ({low} to {high})"


def prompts_of(folder: Path) -> str:
    return str(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["prompts"]["name"])


if __name__ == "__main__":
    metric, pairs = sys.argv[1], [pair.split("=") for pair in sys.argv[2].split(";")]
    folders = [Path(text) for text in sys.argv[3:]]
    digits = 2 if metric == "psnr" else 3
    print(f"| schedule | against | evaluation | images | {metric} | against's | difference | change |")
    print("|---|---|---|---:|---:|---:|---|---|")
    for row, other in pairs:
        first = None
        for folder in folders:
            scores, seeds = scores_of_rows(folder, metric)
            found = paired_interval(scores[row], scores[other], seeds)
            differences = (scores[row] - scores[other]).reshape(-1, seeds).mean(axis=1)
            changed = ""
            if first is None:
                first = differences
            else:
                same = prompts_of(folder) == prompts_of(folders[0])
                changed = written(change(differences, first, same), digits)
            means = " | ".join(f"{scores[name].mean():.{digits}f}" for name in (row, other))
            count = len(scores[row])
            print(
                f"| {row} | {other} | {folder.name} | {count} | {means} | {written(found, digits)} | {changed} |"
            )
