"""Pictures made of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 8
_LABEL_HEIGHT = 22
_SMALLEST_SIDE = 256


def side_by_side(images: Sequence[np.ndarray], labels: Sequence[str]) -> Image.Image:
    """Images of shape (height, width, 3) next to each other, a label above each; small ones are enlarged."""
    height, width = images[0].shape[:2]
    factor = max(1, _SMALLEST_SIDE // max(height, width))
    tiles = [
        Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.NEAREST)
        for image in images
    ]
    tile_width, tile_height = tiles[0].size
    step = tile_width + _MARGIN
    canvas = Image.new(
        "RGB", (_MARGIN + step * len(tiles), tile_height + _LABEL_HEIGHT + 2 * _MARGIN), "white"
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left = _MARGIN + index * step
        draw.text((left, _MARGIN), label, fill="black", font=font)
        canvas.paste(tile, (left, _MARGIN + _LABEL_HEIGHT))
    return canvas
