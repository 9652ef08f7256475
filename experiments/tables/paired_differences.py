"""Prints the paired differences between the rows of an `ecad evaluate`: `python paired_differences.py OUT ROW METRIC`.

ROW minus every other row, with 95 % bootstrap intervals over prompts. A folder whose evaluation was stopped gives the
differences over the batches that all rows have.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from ecad.measuring.statistics import paired_interval


def scores_of_rows(folder: Path, metric: str) -> tuple[dict[str, npt.NDArray[np.float64]], int]:
    """Row -> a score for every image that all rows with this metric have, in the same order; and the images per prompt.

    The uncached row has no fidelity to itself, so it is absent for psnr, ssim, ...
    """
    seeds = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["seeds"]["per_prompt"]
    batches: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if metric in record.get("scores", {}):  # a further timing has none
            batches[record["row"]][record["batch"]] = record["scores"][metric]
    common = sorted(set.intersection(*(set(each) for each in batches.values())))
    return {row: np.concatenate([each[batch] for batch in common]) for row, each in batches.items()}, seeds


if __name__ == "__main__":
    name = sys.argv[2]
    scores, seeds = scores_of_rows(Path(sys.argv[1]), sys.argv[3])
    for row, values in scores.items():
        if row != name:
            found = paired_interval(scores[name], values, seeds)
            print(
                f"{name} ({scores[name].mean():.3f}) minus {row} ({values.mean():.3f}), {len(values)} images: "
                f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
            )
