"""Turns the prompt files of the official ECAD repository into the two lists that the configs here name.

    python experiments/paper/make_prompts.py ImageRewardPrompts.json PartiPrompts.tsv

Writes `prompts/image-reward-100.txt` (what is searched on) and `prompts/parti.txt` (what is reported on) beside this
file, one prompt a line. The lists are not part of ecad: they are data of others.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "prompts"


def image_reward_prompts(path: Path) -> list[str]:
    """The prompts of a JSON list of `{"id": ..., "prompt": ...}`, in order."""
    return [one_line(item["prompt"]) for item in json.loads(path.read_text(encoding="utf-8"))]


def parti_prompts(path: Path) -> list[str]:
    """The column `Prompt` of a table separated by tabs, in order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            one_line(row["Prompt"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def one_line(prompt: str) -> str:
    """A prompt file has one prompt a line, and a line that starts with # is a comment."""
    return " ".join(prompt.split()).lstrip("# ")


def write(name: str, prompts: list[str]) -> Path:
    """Write a list; prompts that would be the same line count once."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    path.write_text("".join(f"{prompt}\n" for prompt in dict.fromkeys(prompts)), encoding="utf-8")
    return path


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        sys.exit(__doc__)
    search = image_reward_prompts(Path(arguments[0]))
    # A search and its report must not share a prompt.
    known = {prompt.lower() for prompt in search}
    heldout = [prompt for prompt in parti_prompts(Path(arguments[1])) if prompt.lower() not in known]
    for name, prompts in (("image-reward-100.txt", search), ("parti.txt", heldout)):
        path = write(name, prompts)
        print(f"{path}: {len(prompts)} prompts")


if __name__ == "__main__":
    main(sys.argv[1:])
