"""Sample images of a comparison's rows: which ones, where they lie in a folder, and small pictures of them."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, features

SAMPLES = "samples"
SCHEDULES = "schedules"  # beside them, of an evaluation
_LARGEST_SIDE = 320  # of a small picture, in pixels
_EXACT_SIDE = (
    128  # images up to this size are kept as they are: one looks at single pixels, and they are 3 KB
)
_QUALITY = 88  # of 100, of larger ones
# Pillow can be built without WebP; JPEG is always there.
_FORMAT, SMALL_SUFFIX = ("WEBP", ".webp") if features.check("webp") else ("JPEG", ".jpg")


def row_folder(place: int, name: str) -> str:
    """A folder name per row: its place in the table, from 0, and its name as far as file systems take it."""
    return f"{place:02d}-{file_name(name)}"


def file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in text)[:60]


def sample_stem(prompt_index: int, seed: int) -> str:
    """The name of an image's file, without its ending; names sort as the prompts do."""
    return f"{prompt_index:03d}-{seed}"


def small_picture(image: Image.Image | npt.NDArray[np.uint8]) -> bytes:
    """The content of a WebP file: large images are reduced, small ones exact. An array is (height, width, 3)."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture = picture.convert("RGB")
    scale = _LARGEST_SIDE / max(picture.size)
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(picture.size) <= _EXACT_SIDE and _FORMAT == "WEBP":
        picture.save(buffer, format=_FORMAT, lossless=True, method=6)
    else:
        picture.save(buffer, format=_FORMAT, quality=_QUALITY)
    return buffer.getvalue()
