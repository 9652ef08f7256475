"""Pictures made of images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ecad.errors import RunError

_MARGIN = 8
_LABEL_HEIGHT = 22
_SMALLEST_SIDE = 256
_GRID_SIDE = 128  # tiles of a grid, whose rows can be many, are this large at least
_LARGEST_SIDE = 320  # and this large at most
_ROW_LABEL_WIDTH = 150
_LINES = 3  # of a column's label
_FONT_SIZE = 13


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
    font = ImageFont.load_default(_FONT_SIZE)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left = _MARGIN + index * step
        draw.text((left, _MARGIN), label, fill="black", font=font)
        canvas.paste(tile, (left, _MARGIN + _LABEL_HEIGHT))
    return canvas


def side_by_side_video(videos: Sequence[np.ndarray], labels: Sequence[str]) -> list[Image.Image]:
    """The frames of videos (frames, height, width, 3) of equal length next to each other, a label above each."""
    return [side_by_side(frames, labels) for frames in zip(*videos, strict=True)]


def image_grid(
    rows: Sequence[Sequence[npt.NDArray[np.uint8]]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> Image.Image:
    """Images of shape (height, width, 3) in rows and columns, labelled at the left and above.

    All tiles have the same size, that of the first image enlarged or reduced to a fit side; other sizes are fitted in.
    """
    height, width = rows[0][0].shape[:2]
    side = max(height, width)
    scale = max(1, _GRID_SIDE // side) if side <= _LARGEST_SIDE else _LARGEST_SIDE / side
    tile_width, tile_height = max(1, round(width * scale)), max(1, round(height * scale))
    font = ImageFont.load_default(_FONT_SIZE)
    top = _MARGIN + _LINES * (_FONT_SIZE + 3)
    size = (
        _ROW_LABEL_WIDTH + len(column_labels) * (tile_width + _MARGIN),
        top + len(rows) * (tile_height + _MARGIN),
    )
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for column, label in enumerate(column_labels):
        left = _ROW_LABEL_WIDTH + column * (tile_width + _MARGIN)
        text = "\n".join(_wrapped(label, tile_width, _LINES, font))
        draw.multiline_text((left, _MARGIN // 2), text, fill="black", font=font, spacing=2)
    for row, (images, label) in enumerate(zip(rows, row_labels, strict=True)):
        upper = top + row * (tile_height + _MARGIN)
        text = "\n".join(_wrapped(label, _ROW_LABEL_WIDTH - 2 * _MARGIN, _LINES, font))
        draw.multiline_text((_MARGIN, upper), text, fill="black", font=font, spacing=2)
        for column, image in enumerate(images):
            tile = _fitted(Image.fromarray(image), tile_width, tile_height)
            left = _ROW_LABEL_WIDTH + column * (tile_width + _MARGIN)
            canvas.paste(tile, (left, upper))
    return canvas


def png_bytes(image: Image.Image | npt.NDArray[np.uint8]) -> bytes:
    """The content of a PNG file, without loss; an array has the shape (height, width, 3)."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def read_png(path: Path) -> npt.NDArray[np.uint8]:
    """The image in a file, of shape (height, width, 3)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise RunError(f"cannot read the image {path}: {error}") from None


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole image in a tile of this size: pixels stay sharp when enlarged, white fills what is left."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if size == image.size == (width, height):
        return image
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    tile = Image.new("RGB", (width, height), "white")
    tile.paste(image.resize(size, resampling), ((width - size[0]) // 2, (height - size[1]) // 2))
    return tile


def _wrapped(
    text: str, width: int, lines: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> list[str]:
    """The text in at most `lines` lines of `width` pixels; what does not fit is cut with an ellipsis."""
    rest = text.split()
    result: list[str] = []
    while rest and len(result) < lines:
        line = rest.pop(0)
        while rest and font.getlength(f"{line} {rest[0]}") <= width:
            line = f"{line} {rest.pop(0)}"
        result.append(line)
    if result and rest:
        result[-1] += " ..."
    return [_cut(line, width, font) for line in result]


def _cut(line: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(line) <= width:
        return line
    line = line.removesuffix(" ...")
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."
