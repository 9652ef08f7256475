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
import yaml

from ecad.evaluation.statistics import paired_interval

if __name__ == "__main__":
    folder, name, metric = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    seeds = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["seeds"]["per_prompt"]
    batches: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        batches[record["row"]][record["batch"]] = record["scores"][metric]
    common = sorted(set.intersection(*(set(each) for each in batches.values())))
    scores = {row: np.concatenate([each[batch] for batch in common]) for row, each in batches.items()}
    for row, values in scores.items():
        if row != name:
            found = paired_interval(scores[name], values, seeds)
            print(
                f"{name} ({scores[name].mean():.3f}) minus {row} ({values.mean():.3f}), {len(values)} images: "
                f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
            )
