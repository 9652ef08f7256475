"""The renderer: a scene and a random placement of its objects -> an antialiased 64 x 64 image.

Coordinates are pixels, x to the right and y downwards; pixel (i, j) covers [j, j+1) x [i, i+1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ecad.scoring.scenes.scene import BACKGROUNDS, COLOURS, Scene

# Width and height of an image, pixels.
IMAGE_SIZE = 64
# Range of an object's radius, pixels, for each size word.
RADIUS_RANGE = {"small": (7.6, 8.6), "large": (12.2, 13.4)}
# The darker of a pattern's two shades, as a share of the object's colour.
DARK_SHADE = 0.35
# Patterns repeat every PATTERN_PERIOD pixels and belong to the canvas, not to the object: an object is a window
# onto its pattern. This keeps them crisp (pixel-aligned) wherever the object lies.
PATTERN_PERIOD = 8
DOT_RADIUS = 2.4

# Free play of an object's centre, pixels either way, round its slot.
_PLAY_ALONG = 2.5  # along the axis of the relation
_PLAY_ACROSS = 5.0
_PLAY_SINGLE = 6.0


@dataclass(frozen=True)
class Placement:
    """Where an object lies: its centre and its radius, pixels."""

    centre_x: float
    centre_y: float
    radius: float


def signed_distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Signed distance in pixels (negative inside) to a shape's outline, from offsets to its centre.

    Exact near edges, an underestimate beyond corners, which is all that antialiasing needs.
    """
    across, down = np.abs(dx), np.abs(dy)
    if shape == "circle":
        return np.sqrt(dx * dx + dy * dy) - radius
    if shape == "square":
        return np.maximum(across, down) - 0.88 * radius
    if shape == "diamond":
        return (across + down - 1.2 * radius) * np.float32(0.5**0.5)
    if shape == "triangle":
        # Apex at (0, -r), base at y = 0.9 r with half width 1.05 r.
        height, half_base = 1.9 * radius, 1.05 * radius
        side = (across * height - (dy + radius) * half_base) / np.sqrt(
            height * height + half_base * half_base
        )
        return np.maximum(side, dy - 0.9 * radius)
    if shape == "cross":
        arm = 0.4 * radius
        upright = np.maximum(across - arm, down - 1.05 * radius)
        level = np.maximum(across - 1.05 * radius, down - arm)
        return np.minimum(upright, level)
    raise ValueError(f"unknown shape {shape!r}")


@cache
def dark_share(pattern: str) -> np.ndarray:
    """Share of the dark shade in every pixel of one pattern period: float32 (PATTERN_PERIOD, PATTERN_PERIOD)."""
    period = np.arange(PATTERN_PERIOD)
    row, column = np.meshgrid(period, period, indexing="ij")
    half = PATTERN_PERIOD // 2
    share: np.ndarray
    if pattern == "plain":
        share = np.zeros((PATTERN_PERIOD, PATTERN_PERIOD))
    elif pattern == "striped":
        share = row // half % 2
    elif pattern == "checkered":
        share = (row // half + column // half) % 2
    elif pattern == "dotted":
        distance = np.hypot(row + 0.5 - half, column + 0.5 - half)
        share = np.clip(0.5 + DOT_RADIUS - distance, 0, 1)
    else:
        raise ValueError(f"unknown pattern {pattern!r}")
    share = share.astype(np.float32)
    share.setflags(write=False)
    return share


def sample_placements(scene: Scene, rng: np.random.Generator) -> tuple[Placement, ...]:
    """A random placement for every object that satisfies the scene's relation."""
    radii = [rng.uniform(*RADIUS_RANGE[item.size]) for item in scene.objects]
    middle = IMAGE_SIZE / 2
    if scene.relation is None:
        play_x, play_y = rng.uniform(-_PLAY_SINGLE, _PLAY_SINGLE, 2)
        return (Placement(middle + play_x, middle + play_y, radii[0]),)
    first_is_nearer_origin = scene.relation in ("left of", "above")
    horizontal = scene.relation in ("left of", "right of")
    placements = []
    for number, radius in enumerate(radii):
        near = (number == 0) == first_is_nearer_origin
        # Large objects have less play, so that none leaves the canvas or touches the other.
        play = min(_PLAY_ALONG, middle / 2 - 0.8 - 1.05 * radius)
        along = middle / 2 * (1 if near else 3) + rng.uniform(-play, play)
        across = middle + rng.uniform(-_PLAY_ACROSS, _PLAY_ACROSS)
        x, y = (along, across) if horizontal else (across, along)
        placements.append(Placement(x, y, radius))
    return tuple(placements)


def render(
    scene: Scene, rng: np.random.Generator, placements: tuple[Placement, ...] | None = None
) -> np.ndarray:
    """Draw a scene, by default at a random placement: uint8 (IMAGE_SIZE, IMAGE_SIZE, 3), RGB."""
    if placements is None:
        placements = sample_placements(scene, rng)
    axis = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5
    background = np.array(BACKGROUNDS[scene.background], np.float32)
    image: np.ndarray = np.broadcast_to(background, (IMAGE_SIZE, IMAGE_SIZE, 3))
    repeats = (IMAGE_SIZE // PATTERN_PERIOD,) * 2
    for item, place in zip(scene.objects, placements, strict=True):
        dx = axis[None, :] - np.float32(place.centre_x)
        dy = axis[:, None] - np.float32(place.centre_y)
        coverage = np.clip(0.5 - signed_distance(item.shape, dx, dy, place.radius), 0, 1)[..., None]
        shade = 1 - (1 - DARK_SHADE) * np.tile(dark_share(item.pattern), repeats)[..., None]
        colour = np.array(COLOURS[item.colour], np.float32) * shade
        image = image + coverage * (colour - image)
    return np.round(image).astype(np.uint8)
