"""The alignment scorer: how well an image shows the scene that its caption asks for, by analysis by synthesis.

For each requested object, the judge looks for the placement (centre and radius) at which the renderer's own
drawing of it comes closest to the image; the remaining difference is the object's error. What the objects do not
explain should be the requested background. All terms are continuous in the pixels, so that small damage costs a little
and a wrong shape, colour or pattern costs most of an object.

With c the coverage of a candidate drawing, w its (canvas-anchored) colour minus the background and J the image minus
the background, the squared error over the drawing's neighbourhood m is

    sum_p m |J - c w|^2  =  sum_p m |J|^2 - 2 sum_p c (J . w) + sum_p c^2 |w|^2        (m = 1 wherever c > 0)

so all candidates are tried at once by correlating three maps of the image with banks of m, c and c^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ecad.errors import ConfigError
from ecad.scoring.scenes.render import (
    DARK_SHADE,
    IMAGE_SIZE,
    PATTERN_PERIOD,
    RADIUS_RANGE,
    dark_share,
    signed_distance,
)
from ecad.scoring.scenes.scene import BACKGROUNDS, COLOURS, Scene, SceneObject, parse_caption

# Weights of the parts of a score; a scene with a single object has no relation and divides by the rest.
WEIGHTS = {"objects": 0.7, "relation": 0.15, "background": 0.15}
# Squared RGB error per pixel of the object at which an object counts half: a share of its squared contrast with
# the background, so that an absent object never passes for a faint one, and at most a fixed error, so that a
# neighbouring colour (orange for yellow) does not pass on a contrasting background.
OBJECT_ERROR_SHARE = 0.15
OBJECT_ERROR_LIMIT = 3500.0
# The same for the mean over the rest of the canvas.
BACKGROUND_ERROR_SCALE = 500.0
# Softness of a relation, pixels: by how much the centres must differ more along the axis than across it.
RELATION_SOFTNESS = 2.0

# Pixels round a drawing that must show the background.
_MARGIN = 1.0
# Half width of the window that holds the largest drawing with its margin, pixels.
_HALF_WINDOW = {"small": 13, "large": 19}
_RADII = 6
_SUBPIXELS = 4
# The fine search looks this many whole pixels round the coarse best placement.
_REACH = 2
_PADDING = max(_HALF_WINDOW.values()) + _REACH


@dataclass(frozen=True)
class _Bank:
    """Candidate drawings of one shape and size, flattened over their window: float32 (candidates, window^2)."""

    neighbourhood: np.ndarray
    coverage: np.ndarray
    coverage_squared: np.ndarray
    offsets: np.ndarray  # (candidates, 2): sub-pixel part of the centre (x, y), pixels
    area: float  # mean coverage sum over candidates, pixels


@cache
def _bank(shape: str, size: str) -> _Bank:
    half = _HALF_WINDOW[size]
    # Window pixel k covers [k - half, k - half + 1) relative to the whole-pixel part of the centre.
    axis = np.arange(2 * half, dtype=np.float32) - half + 0.5
    fractions = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS
    neighbourhoods, coverages, offsets = [], [], []
    for radius in np.linspace(*RADIUS_RANGE[size], _RADII):
        for x in fractions:
            for y in fractions:
                distance = signed_distance(shape, axis[None, :] - x, axis[:, None] - y, radius)
                coverages.append(np.clip(0.5 - distance, 0, 1).ravel())
                neighbourhoods.append(np.clip(0.5 + _MARGIN - distance, 0, 1).ravel())
                offsets.append((x, y))
    coverage = np.asarray(coverages, np.float32)
    return _Bank(
        neighbourhood=np.asarray(neighbourhoods, np.float32),
        coverage=coverage,
        coverage_squared=coverage**2,
        offsets=np.asarray(offsets, np.float32),
        area=float(coverage.sum(1).mean()),
    )


@cache
def _spectra(shape: str, size: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conjugate spectra of the middle drawing's m, c and c^2, for the coarse search over the padded canvas."""
    bank, width = _bank(shape, size), 2 * _HALF_WINDOW[size]
    middle = len(bank.offsets) // 2
    padded = IMAGE_SIZE + 2 * _PADDING

    def spectrum(part: np.ndarray) -> np.ndarray:
        drawing = part[middle].reshape(width, width)
        return np.conj(np.fft.rfft2(drawing, (padded, padded))).astype(np.complex64)

    return spectrum(bank.neighbourhood), spectrum(bank.coverage), spectrum(bank.coverage_squared)


@cache
def _paint(colour: str, pattern: str, background: str) -> np.ndarray:
    """Colour minus background of a drawing everywhere on the canvas: float32 (64, 64, 3)."""
    repeats = (IMAGE_SIZE // PATTERN_PERIOD,) * 2
    shade = 1 - (1 - DARK_SHADE) * np.tile(dark_share(pattern), repeats)[..., None]
    paint = np.array(COLOURS[colour], np.float32) * shade - np.array(BACKGROUNDS[background], np.float32)
    return paint.astype(np.float32)


@dataclass(frozen=True)
class _Match:
    """The best placement of one requested object."""

    error: float  # mean squared RGB error per pixel of the object
    scale: float  # the error at which the object counts half
    centre: tuple[float, float]  # x, y, pixels
    neighbourhood: np.ndarray  # float32 (64, 64): the pixels that the object answers for


def _match(item: SceneObject, background: str, excess: np.ndarray, energy: np.ndarray) -> _Match:
    """Find one object. ``excess`` is J (64, 64, 3), ``energy`` the padded |J|^2 (padded, padded)."""
    bank = _bank(item.shape, item.size)
    half = _HALF_WINDOW[item.size]
    paint = _paint(item.colour, item.pattern, background)
    product = np.pad(np.einsum("ijk,ijk->ij", excess, paint), _PADDING)
    strength = np.pad(np.einsum("ijk,ijk->ij", paint, paint), _PADDING)

    # Coarse: one drawing at every whole-pixel placement that lies on the canvas (but for two pixels: outside there is
    # nothing to be wrong about, so a drawing must not hide there).
    spectra = _spectra(item.shape, item.size)
    spectrum = np.fft.rfft2(energy) * spectra[0] - 2 * np.fft.rfft2(product) * spectra[1]
    spectrum += np.fft.rfft2(strength) * spectra[2]
    errors = np.fft.irfft2(spectrum, energy.shape)
    first = _PADDING - half  # window corner for a centre at the canvas's corner
    nearest = int(RADIUS_RANGE[item.size][0])
    centres = slice(first + nearest, first + IMAGE_SIZE - nearest)
    errors = errors[centres, centres]
    row, column = np.unravel_index(np.argmin(errors), errors.shape)
    row, column = row + nearest, column + nearest

    # Fine: all radii and sub-pixel placements in the neighbourhood.
    reach = 2 * _REACH + 1
    corner_row, corner_column = row + first - _REACH, column + first - _REACH
    size = 2 * half + reach - 1

    def windows(plane: np.ndarray) -> np.ndarray:
        patch = plane[corner_row : corner_row + size, corner_column : corner_column + size]
        view = np.lib.stride_tricks.sliding_window_view(patch, (2 * half, 2 * half))
        return view.reshape(reach * reach, -1)

    squared = windows(energy) @ bank.neighbourhood.T - 2 * (windows(product) @ bank.coverage.T)
    squared += windows(strength) @ bank.coverage_squared.T
    place, candidate = np.unravel_index(np.argmin(squared), squared.shape)
    shift_row, shift_column = place // reach - _REACH, place % reach - _REACH
    x, y = bank.offsets[candidate] + (column + shift_column, row + shift_row)

    canvas = np.zeros(energy.shape, np.float32)
    top, left = row + first + shift_row, column + first + shift_column
    window = bank.neighbourhood[candidate].reshape(2 * half, 2 * half)
    canvas[top : top + 2 * half, left : left + 2 * half] = window
    inside = slice(_PADDING, _PADDING + IMAGE_SIZE)
    error = max(float(squared[place, candidate]), 0.0) / bank.area
    contrast = float(np.einsum("ijk,ijk->", paint, paint)) / IMAGE_SIZE**2
    scale = min(OBJECT_ERROR_LIMIT, OBJECT_ERROR_SHARE * contrast)
    return _Match(error, scale, (float(x), float(y)), canvas[inside, inside])


def _relation(name: str, first: tuple[float, float], second: tuple[float, float]) -> float:
    """How clearly the first centre lies left of (right of, above, below) the second, 0..1."""
    dx, dy = second[0] - first[0], second[1] - first[1]
    if name in ("right of", "below"):
        dx, dy = -dx, -dy
    along, across = (dx, dy) if name in ("left of", "right of") else (dy, dx)
    margin = (along - abs(across)) / RELATION_SOFTNESS
    return float(1 / (1 + np.exp(-np.clip(margin, -30, 30))))


def _falling(error: float, scale: float) -> float:
    """1 without error, 1/2 at ``scale``, towards 0 beyond; steepest in between."""
    return 1 / (1 + (error / scale) ** 1.5)


def _judge(scene: Scene, image: np.ndarray) -> dict[str, float]:
    """The components of one image's score."""
    excess = image.astype(np.float32) - np.array(BACKGROUNDS[scene.background], np.float32)
    energy = np.einsum("ijk,ijk->ij", excess, excess)
    padded = np.pad(energy, _PADDING)
    matches = [_match(item, scene.background, excess, padded) for item in scene.objects]
    fits = [_falling(match.error, match.scale) for match in matches]
    rest = np.ones_like(energy)
    for match in matches:
        rest = rest * (1 - match.neighbourhood)
    # Over the whole canvas, so that the same smudge costs the same beside small and large objects.
    background = _falling(float((rest * energy).mean()), BACKGROUND_ERROR_SCALE)
    parts = {"objects": float(np.mean(fits)), "background": background, "relation": 1.0}
    weights = dict(WEIGHTS)
    if scene.relation is None:
        del weights["relation"]
    else:
        placed = _relation(scene.relation, matches[0].centre, matches[1].centre)
        # Two places mean nothing when an object is not there.
        parts["relation"] = placed * min(1.0, min(fits) / 0.25)
    score = sum(weight * parts[name] for name, weight in weights.items()) / sum(weights.values())
    return {"score": score, **parts, "worst_object": min(fits)}


def alignment_components(prompts: Sequence[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """The scores and what they are made of, each float64 (n,) in [0, 1], 1 is best.

    Keys: ``score``; ``objects`` (mean fit of the requested objects), ``worst_object``, ``relation`` (1 for a single
    object) and ``background`` (nothing else is there).
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ConfigError(
            f"images must be uint8 (n, height, width, 3), not {images.dtype} {tuple(images.shape)}"
        )
    if len(prompts) != len(images):
        raise ConfigError(f"{len(prompts)} prompts for {len(images)} images: give one prompt per image")
    if images.shape[1:3] != (IMAGE_SIZE, IMAGE_SIZE):
        raise ConfigError(
            f"images are {images.shape[2]} x {images.shape[1]} pixels: scene captions are judged on "
            f"{IMAGE_SIZE} x {IMAGE_SIZE}"
        )
    names = ("score", "objects", "worst_object", "relation", "background")
    judged = [_judge(parse_caption(text), image) for text, image in zip(prompts, images, strict=True)]
    return {name: np.array([parts[name] for parts in judged], np.float64) for name in names}


def alignment_scores(prompts: Sequence[str], images: np.ndarray) -> np.ndarray:
    """How well each image shows its caption's scene: float64 (n,) in [0, 1], 1 is best.

    ``images`` is uint8 (n, 64, 64, 3), RGB; every prompt must be a scene caption.
    """
    return alignment_components(prompts, images)["score"]


class AlignmentScorer:
    """`alignment_scores` as a scorer object."""

    name = "alignment"
    higher_is_better = True
    needs_reference = False

    def __init__(self, device: str = "auto") -> None:
        """It runs on the CPU whatever the device is."""

    def __call__(
        self, prompts: Sequence[str], images: np.ndarray, references: np.ndarray | None = None
    ) -> np.ndarray:
        return alignment_scores(prompts, images)

    def check(self, prompts: Sequence[str], height: int, width: int) -> None:
        """Raise ConfigError for a prompt that is no caption of a scene, or for another image size."""
        if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
            raise ConfigError(
                f"alignment judges images of {IMAGE_SIZE} x {IMAGE_SIZE} pixels, not {height} x {width}: "
                "it is made for ecad's mini models only"
            )
        for prompt in prompts:
            parse_caption(prompt)
