"""Picture files of any kind, as a viewer shows them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecad.arrays import Images
from ecad.errors import ConfigError, describe
from ecad.foreign_files import LONGEST_START, mistaken_for

if TYPE_CHECKING:
    from PIL import Image

# The last of them may need a newer Pillow or a plugin: what is there and cannot be read must not be left out silently.
PICTURE_ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
    | {".avif", ".heic", ".heif", ".jp2", ".jxl"}
)

_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")


def read_picture(path: Path) -> Images:
    """One picture as uint8 (1, height, width, 3); ConfigError, naming the file, if it is damaged.

    As it is shown: turned as its EXIF data say, grey levels of 16 bits scaled to 8, what is transparent on white.
    CMYK is converted by Pillow's formula, without colour profiles, as clean-fid's reader does.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large, but not too large
            with Image.open(path) as picture:
                shown = _eight_bits(path, picture)
                if shown.has_transparency_data:
                    behind = Image.new("RGBA", shown.size, "white")
                    shown = Image.alpha_composite(behind, shown.convert("RGBA"))
                turned = ImageOps.exif_transpose(shown.convert("RGB"))
                return np.array(turned)[None]
    except ConfigError:
        raise
    except (
        Exception
    ) as error:  # damaged files raise what their decoder stumbles over, from OSError to IndexError
        raise ConfigError(
            f"cannot read the picture {path} ({_reason(path, error)}): mend or remove it"
        ) from None


def _eight_bits(path: Path, picture: Image.Image) -> Image.Image:
    """The picture; grey levels of 16 bits, which Pillow clips at 255 when it converts them, scaled to 8."""
    from PIL import Image

    if picture.mode not in (*_SIXTEEN_BITS, "I", "F"):
        return picture
    # Pillow opens PNG (before its version 11) and PGM files of 16 bits as such of 32.
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
        kind = "floating-point numbers" if picture.mode == "F" else "whole numbers of 32 bits"
        raise ConfigError(
            f"the picture {path} holds {kind}, whose black and white are not known: save it with 8 or 16 bits"
        )
    levels = np.asarray(picture).astype(np.float64) / 257.0
    scaled = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    scaled.info.update({name: value for name, value in picture.info.items() if name == "exif"})
    return scaled


def _reason(path: Path, error: Exception) -> str:
    """What a file is instead of a picture, if that is known, or what its decoder says."""
    try:
        with path.open("rb") as file:
            mistake = mistaken_for(file.read(LONGEST_START))
    except OSError:
        mistake = None
    return mistake or describe(error)
