"""What a run's front lost in the search's eyes and on held-out images: `python search_against_heldout.py OUT RUN`.

RUN is the run folder; OUT an `ecad evaluate` of its front on other captions. The search's eyes are its own images and
those of its selection. Both losses are mean paired differences to the uncached model, with their standard errors.
Where the former are smaller by more than these say, the captions are of another kind or the schedules were lucky.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from paired_differences import scores_of_rows

from ecad.storage import RunFolder
from ecad.storage.log import Logged, read_log

Scores = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--metric", default="alignment")
    options = parser.parse_args()
    for path in (options.out / "scores.jsonl", options.run / "evaluations.jsonl"):
        if not path.is_file():
            parser.error(f"{path} is missing: give the folder of an evaluation, and then that of a run")
    heldout, _ = scores_of_rows(options.out, options.metric)
    folder = RunFolder.existing(options.run)
    searched = _scores_by_key(folder)
    uncached = max(searched, key=lambda key: searched[key][0])
    print("| schedule | compute | images | the search saw | held-out |\n|---|---|---|---|---|")
    for name, schedule in folder.read_front().items():
        if name not in heldout:
            raise SystemExit(f"{options.out} has no row {name} of the front of {options.run}")
        cost, mine = searched[schedule.digest()]
        lost = mine - searched[uncached][1][: len(mine)]
        print(
            f"| {name} | {cost:.3f} | {len(lost)} | {_text(lost)} | {_text(heldout[name] - heldout['uncached'])} |"
        )


def _scores_by_key(folder: RunFolder) -> dict[str, tuple[float, Scores]]:
    """Key of a schedule -> cost, and scores in the search and in each round of its selection that it was in.

    Variants, which join before the last round, have met the prompts of all earlier ones.
    """
    selections = sorted(folder.path.glob("selection-?.jsonl"))
    variants = list(folder.path.glob("refinement.jsonl"))
    rounds: list[dict[str, Logged]] = []
    for path in [folder.path / "evaluations.jsonl", *selections[:-1], *variants, *selections[-1:]]:
        rounds.append({each.evaluation.key: each for each in read_log(path)})
    found = {}
    for key, each in {key: each for one in reversed(rounds) for key, each in one.items()}.items():
        scores = [one[key].evaluation.scores for one in rounds if key in one]
        found[key] = (each.evaluation.cost, np.concatenate(scores))
    return found


def _text(differences: Scores) -> str:
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.3f} ({error:.3f})".replace("0.", ".")


if __name__ == "__main__":
    main()
