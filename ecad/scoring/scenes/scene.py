"""Scenes as data: what can be asked for, how it is said, and which combinations are held out of training."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np

from ecad.errors import ConfigError

# RGB, 0..255. The colours differ in more than brightness, so that a darkened pattern stays recognisable.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (40, 80, 235),
    "yellow": (245, 215, 30),
    "purple": (165, 55, 195),
    "orange": (250, 130, 20),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
# "plain" is the pattern that a caption leaves unsaid.
PATTERNS = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")

# One combination of objects in this many is never shown in training (see `is_held_out`).
HELD_OUT_ONE_IN = 8
# Share of sampled scenes that show two objects.
TWO_OBJECT_SHARE = 0.8


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, by the words that describe it."""

    size: str
    colour: str
    pattern: str
    shape: str

    def describe(self) -> str:
        """For example ``"a large red striped circle"``; the pattern "plain" is not said."""
        words = ["a", self.size, self.colour, self.pattern, self.shape]
        return " ".join(word for word in words if word != "plain")


@dataclass(frozen=True)
class Scene:
    """One or two objects of different colours on a plain background.

    ``relation`` says where the first object is, seen from the second; None with a single object.
    """

    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str


_OBJECT = (
    rf"a (?P<size{{n}}>{'|'.join(SIZES)}) (?P<colour{{n}}>{'|'.join(COLOURS)})"
    rf"(?: (?P<pattern{{n}}>{'|'.join(PATTERNS[1:])}))? (?P<shape{{n}}>{'|'.join(SHAPES)})"
)
_CAPTION = re.compile(
    _OBJECT.replace("{n}", "1")
    + rf"(?: (?P<relation>{'|'.join(RELATIONS)}) "
    + _OBJECT.replace("{n}", "2")
    + ")?"
    + rf" on a (?P<background>{'|'.join(BACKGROUNDS)}) background"
)


def caption(scene: Scene) -> str:
    """The caption of a scene; `parse_caption` is its inverse."""
    text = scene.objects[0].describe()
    if scene.relation is not None:
        text += f" {scene.relation} {scene.objects[1].describe()}"
    return f"{text} on a {scene.background} background"


def parse_caption(text: str) -> Scene:
    """The scene that a caption asks for. Case and the amount of white space do not matter."""
    match = _CAPTION.fullmatch(" ".join(text.lower().split()))
    if match is None:
        raise ConfigError(
            f"not a scene caption: {text!r} (expected e.g. 'a large red striped circle left of "
            "a small blue square on a gray background')"
        )
    group = match.groupdict()
    numbers = "1" if group["relation"] is None else "12"
    objects = tuple(
        SceneObject(
            size=group["size" + n],
            colour=group["colour" + n],
            pattern=group["pattern" + n] or "plain",
            shape=group["shape" + n],
        )
        for n in numbers
    )
    if len(objects) == 2 and objects[0].colour == objects[1].colour:
        raise ConfigError(f"not a scene caption: {text!r} (its two objects must have different colours)")
    return Scene(objects, group["relation"], group["background"])


def is_held_out(scene: Scene) -> bool:
    """Whether the scene shows a combination of objects that training never shows.

    A combination is the unordered set of (colour, pattern, shape) of the scene's objects: sizes, relation and
    background do not count, so no rearrangement of a held-out pair occurs in training either. A hash picks one
    combination in `HELD_OUT_ONE_IN`; every single object still occurs in training, with other partners.
    """
    names = sorted(f"{item.colour} {item.pattern} {item.shape}" for item in scene.objects)
    return hashlib.sha256(" + ".join(names).encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def sample_scenes(n: int, rng: np.random.Generator, held_out: bool | None = None) -> list[Scene]:
    """``n`` random scenes: held-out ones only (True), none of them (False), or regardless (None)."""
    scenes: list[Scene] = []
    while len(scenes) < n:
        scene = _sample_scene(rng)
        if held_out is None or is_held_out(scene) == held_out:
            scenes.append(scene)
    return scenes


def _sample_scene(rng: np.random.Generator) -> Scene:
    count = 2 if rng.random() < TWO_OBJECT_SHARE else 1
    # The colours differ, so that every object of an image can be told apart.
    colours = rng.permutation(len(COLOURS))[:count]
    names = tuple(COLOURS)
    objects = tuple(
        SceneObject(
            size=SIZES[rng.integers(len(SIZES))],
            colour=names[colour],
            pattern=PATTERNS[rng.integers(len(PATTERNS))],
            shape=SHAPES[rng.integers(len(SHAPES))],
        )
        for colour in colours
    )
    relation = RELATIONS[rng.integers(len(RELATIONS))] if count == 2 else None
    return Scene(objects, relation, tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))])


def vocabulary() -> list[str]:
    """Every word that a caption can contain, in a fixed order."""
    grammar = ["a", "on", "background"]
    relations = sorted({word for relation in RELATIONS for word in relation.split()})
    return [*grammar, *relations, *SIZES, *COLOURS, *PATTERNS[1:], *SHAPES, *BACKGROUNDS]
