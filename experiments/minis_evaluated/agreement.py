"""Do the metrics of an `ecad evaluate` agree on the order of its rows? `python agreement.py OUT [--fastest 3]`.

Prints Spearman's rank correlation between all pairs of metrics over the rows (without the uncached one, which fidelity
metrics cannot judge), and the pairs of rows on which two metrics disagree most, as a share of each metric's range.
`--fastest S` leaves out the rows with a MACs speedup above S, whose damage every metric sees.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    order = np.argsort(values, kind="stable")
    result = np.empty(len(values))
    result[order] = np.arange(len(values))
    for value in np.unique(values):
        result[values == value] = result[values == value].mean()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fastest", type=float, default=np.inf)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    results = json.loads((options.folder / "results.json").read_text(encoding="utf-8"))
    rows = [
        row for row in results["rows"] if row["kind"] != "uncached" and row["speedup_macs"] <= options.fastest
    ]
    # Turned so that more is better, whatever the metric.
    signs = {metric["name"]: 1 if metric["higher_is_better"] else -1 for metric in results["metrics"]}
    goodness = {
        name: sign * np.array([row["metrics"][name]["quality"] for row in rows])
        for name, sign in signs.items()
    }
    print(f"Spearman's rank correlation over {len(rows)} rows of {results['model']}\n")
    print("| |", " | ".join(goodness), "|\n|---|" + "---:|" * len(goodness))
    for name, values in goodness.items():
        others = [f"{np.corrcoef(ranks(values), ranks(other))[0, 1]:.3f}" for other in goodness.values()]
        print(f"| {name} |", " | ".join(others), "|")
    for first, second in itertools.combinations(goodness, 2):
        one, two = (goodness[name] / np.ptp(goodness[name]) for name in (first, second))
        found = []
        for a, b in itertools.permutations(range(len(rows)), 2):
            if one[a] > one[b] and two[a] < two[b]:
                found.append((min(one[a] - one[b], two[b] - two[a]), a, b))
        total = len(rows) * (len(rows) - 1) // 2
        print(f"\n{first} and {second} order {len(found)} of {total} pairs of rows differently", end="")
        print(", most of all:" if found else "")
        for _, a, b in sorted(found, reverse=True)[: options.pairs]:
            numbers = ", ".join(
                f"{name} {abs(goodness[name][a]):.3f} against {abs(goodness[name][b]):.3f}"
                for name in (first, second)
            )
            print(f"- {rows[a]['name']} and {rows[b]['name']}: {numbers}")
