"""How much better than they are a search takes its best schedules to be: `python search_against_selection.py RUN ...`.

What reaches the first round of the selection was chosen by its scores on the search's captions, and meets others
there. Printed are, by compute, the mean losses of these schedules (paired differences to the uncached model) on the
captions by which they were chosen, in the first round, and in all rounds that they reached. The simple ones of
the first generation, which were not chosen by their scores, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecad.errors import EcadError
from ecad.storage import RunFolder
from ecad.storage.log import Logged, read_log

Scores = npt.NDArray[np.float64]
Round = Mapping[str, Logged]  # by key


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--edges", default=".15,.25,.35,.6", help="of compute (default: %(default)s)")
    options = parser.parse_args()
    try:
        edges = [float(edge) for edge in options.edges.split(",")]
        found = np.concatenate([_losses(RunFolder.existing(run)) for run in options.runs])
    except (ValueError, EcadError) as error:
        parser.error(str(error))
    print("| compute | schedules | the search saw | first round | all rounds |\n|---|---|---|---|---|")
    for low, high in pairwise(edges):
        mine = found[(found[:, 0] >= low) & (found[:, 0] < high)]
        if len(mine):
            losses = " | ".join(f"{mean:+.3f}".replace("0.", ".") for mean in mine[:, 1:].mean(axis=0))
            print(f"| {low:g} to {high:g} | {len(mine)} | {losses} |")


def _losses(folder: RunFolder) -> Scores:
    """Of each finalist its cost, and its losses in the search, in the first round and afterwards: (finalists, 4)."""
    searched, *rounds = [
        {each.evaluation.key: each for each in read_log(path)}
        for path in (folder.path / "evaluations.jsonl", *sorted(folder.path.glob("selection-?.jsonl")))
    ]
    if not rounds:
        raise SystemExit(f"{folder.path} has no selection")
    uncached = max(searched, key=lambda key: searched[key].evaluation.cost)
    rows = [
        (
            searched[key].evaluation.cost,
            _lost(key, uncached, [searched]).mean(),
            _lost(key, uncached, rounds[:1]).mean(),
            _lost(key, uncached, [one for one in rounds if key in one]).mean(),
        )
        for key in rounds[0]
        if key != uncached and searched[key].generation > 1
    ]
    return np.array(rows).reshape(-1, 4)


def _lost(key: str, uncached: str, rounds: list[Round]) -> Scores:
    """Of each image, negative where it is worse than the uncached one."""
    mine, other = (
        np.concatenate([one[which].evaluation.scores for one in rounds]) for which in (key, uncached)
    )
    return np.asarray(mine - other)


if __name__ == "__main__":
    main()
