"""Writes captions unlike those that the schedules were learnt on: `python make_prompts.py FOLDER`.

All are made of the mini models' words, none of a combination of objects that the models were trained on:

- `single.txt`: one object (of the search's captions four in five have two);
- `alike.txt`: two small objects of the same shape, of different patterns and of neighbouring colours, which are the
  easiest to mix up;
- `reworded.txt`: the held-out captions in words and orders that neither the search nor the training of the models knew:
  only the images themselves can be compared, since the judge reads nothing but full captions.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from ecad.resources import find_prompts
from ecad.scoring.scenes import (
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    caption,
    is_held_out,
    parse_caption,
    sample_scenes,
)

COUNT = 96
SEED = 0
NEIGHBOURS = (("red", "orange"), ("orange", "yellow"), ("blue", "purple"))


def single(rng: np.random.Generator) -> list[str]:
    """All captions of one object that were held out from training, in random order."""
    scenes = [
        Scene((SceneObject(*words),), None, background)
        for words in product(SIZES, COLOURS, PATTERNS, SHAPES)
        for background in BACKGROUNDS
    ]
    captions = [caption(scene) for scene in scenes if is_held_out(scene)]
    return [str(text) for text in rng.permutation(captions)]


def alike(rng: np.random.Generator) -> list[str]:
    """Captions of two objects that differ in little, all different."""
    found: dict[str, None] = {}
    while len(found) < COUNT:
        scene = sample_scenes(1, rng)[0]
        if scene.relation is None:
            continue
        colours = rng.permutation(NEIGHBOURS[rng.integers(len(NEIGHBOURS))])
        patterns = rng.permutation(PATTERNS[1:])[:2]
        objects = tuple(
            replace(
                item, size="small", colour=str(colour), pattern=str(pattern), shape=scene.objects[0].shape
            )
            for item, colour, pattern in zip(scene.objects, colours, patterns, strict=True)
        )
        changed = Scene(objects, scene.relation, scene.background)
        if is_held_out(changed):
            found[caption(changed)] = None
    return list(found)


def reworded() -> list[str]:
    """The first held-out captions of two objects, in four other wordings in turn."""
    path = find_prompts("scenes-heldout")
    if path is None:
        raise SystemExit("the prompts scenes-heldout are missing: reinstall ecad")
    scenes = [parse_caption(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [scene for scene in scenes if scene.relation is not None][:COUNT]
    return [_WORDINGS[number % len(_WORDINGS)](scene) for number, scene in enumerate(pairs)]


def _without_background(scene: Scene) -> str:
    first, second = scene.objects
    return f"{first.describe()} {scene.relation} {second.describe()}"


def _background_first(scene: Scene) -> str:
    return f"on a {scene.background} background {_without_background(scene)}"


def _second_object_first(scene: Scene) -> str:
    first, second = scene.objects
    return f"{scene.relation} {second.describe()} {first.describe()} on a {scene.background} background"


def _colours_and_shapes_alone(scene: Scene) -> str:
    first, second = scene.objects
    return f"{first.colour} {first.shape} {scene.relation} {second.colour} {second.shape}"


_WORDINGS = (_without_background, _background_first, _second_object_first, _colours_and_shapes_alone)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    for name, captions in (("single", single(rng)), ("alike", alike(rng)), ("reworded", reworded())):
        (folder / f"{name}.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
