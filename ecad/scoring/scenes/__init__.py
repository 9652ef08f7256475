"""A small world of painted scenes: captions with one exact meaning, and a renderer that draws them.

The bundled mini models are trained on it, and :mod:`ecad.scoring.alignment` judges their images in it.
"""

from ecad.scoring.scenes.render import IMAGE_SIZE, Placement, render, sample_placements
from ecad.scoring.scenes.scene import (
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    caption,
    is_held_out,
    parse_caption,
    sample_scenes,
    vocabulary,
)

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "IMAGE_SIZE",
    "PATTERNS",
    "RELATIONS",
    "SHAPES",
    "SIZES",
    "Placement",
    "Scene",
    "SceneObject",
    "caption",
    "is_held_out",
    "parse_caption",
    "render",
    "sample_placements",
    "sample_scenes",
    "vocabulary",
]
