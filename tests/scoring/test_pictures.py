"""Reference pictures as people have them: read as a viewer shows them, or refused by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecad.errors import ConfigError
from ecad.scoring.pictures import read_picture
from ecad.scoring.references import list_pictures

RAMP = np.tile(np.arange(256, dtype=np.uint8), (32, 1))  # grey levels (32, 256)
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=-1)


def png_of_16_bits(path: Path, levels: np.ndarray, colour_type: int) -> None:
    """Pillow writes none with several channels. `levels` is uint16 (height, width, channels)."""
    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def sixteen(levels: np.ndarray) -> np.ndarray:
    return levels.astype(np.uint16) * 257


def pgm_of_16_bits(path: Path) -> None:
    path.write_bytes(b"P5\n256 32\n65535\n" + sixteen(RAMP).astype(">u2").tobytes())


GREYS: dict[str, Callable[[Path], None]] = {
    "8.png": lambda path: Image.fromarray(RAMP).save(path),
    "16.png": lambda path: Image.fromarray(sixteen(RAMP)).save(path),
    "16.tif": lambda path: Image.fromarray(sixteen(RAMP)).save(path),
    "16big.tif": lambda path: Image.fromarray(sixteen(RAMP).astype(">u2")).save(path),
    "16.pgm": pgm_of_16_bits,
    "8 and alpha.png": lambda path: Image.fromarray(RAMP).convert("LA").save(path),
    "16 and alpha.png": lambda path: png_of_16_bits(
        path, np.stack([sixteen(RAMP), np.full((32, 256), 65535)], axis=-1), 4
    ),
}
COLOURED: dict[str, Callable[[Path], None]] = {
    "8.png": lambda path: Image.fromarray(COLOURS).save(path),
    "16.png": lambda path: png_of_16_bits(path, sixteen(COLOURS), 2),
    "alpha.png": lambda path: Image.fromarray(COLOURS).convert("RGBA").save(path),
    "palette.png": lambda path: Image.fromarray(COLOURS).quantize(256).save(path),
    "palette.gif": lambda path: Image.fromarray(COLOURS).quantize(256).save(path),
    "cmyk.jpg": lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path, quality=98),
    "cmyk.tif": lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path),
    "lossless.webp": lambda path: Image.fromarray(COLOURS).save(path, lossless=True),
    "turned.png": lambda path: turned(path),
}


def turned(path: Path) -> None:
    """Stored lying on its side, with the note that a viewer turns it by."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    Image.fromarray(COLOURS).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


@pytest.mark.parametrize("name", GREYS)
def test_greys(tmp_path: Path, name: str) -> None:
    GREYS[name](tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert (picture.shape, picture.dtype) == ((1, 32, 256, 3), np.uint8)
    for channel in range(3):
        assert np.array_equal(picture[0, ..., channel], RAMP)


@pytest.mark.parametrize("name", COLOURED)
def test_colours(tmp_path: Path, name: str) -> None:
    COLOURED[name](tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert (picture.shape, picture.dtype) == ((1, 32, 256, 3), np.uint8)
    difference = np.abs(picture[0].astype(int) - COLOURS)
    assert difference.mean() <= (1.0 if "cmyk.jpg" in name else 0.0)


def test_twelve_bits_in_sixteen_are_dark_and_not_white(tmp_path: Path) -> None:
    Image.fromarray(sixteen(RAMP) // 16).save(tmp_path / "12.png")
    assert read_picture(tmp_path / "12.png").max() == 16


def test_one_bit(tmp_path: Path) -> None:
    bits = Image.fromarray(RAMP > 127)
    bits.save(tmp_path / "1.png")
    assert np.array_equal(read_picture(tmp_path / "1.png")[0, ..., 0], np.where(RAMP > 127, 255, 0))


@pytest.mark.parametrize("kind", ["RGBA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, kind: str) -> None:
    """As on a page. What colour a program leaves there unseen is no part of the picture."""
    picture = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 4, 8))
    if kind == "P":
        picture = picture.quantize(4)
    picture.save(tmp_path / "x.png")
    seen = read_picture(tmp_path / "x.png")[0]
    assert (seen[:, :4] == (0, 0, 255)).all()
    assert (seen[:, 4:] == 255).all()


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("f.tif", lambda path: Image.fromarray(RAMP / np.float32(255)).save(path), "holds floating-point numbers"),
        ("i.tif", lambda path: Image.fromarray(RAMP.astype(np.int32)).save(path), "holds whole numbers of 32 bits"),
        ("cut.png", lambda path: path.write_bytes(_png()[:90]), "mend or remove it"),
        ("cut.jpg", lambda path: path.write_bytes(_jpeg()[:-200]), "truncated.* mend or remove it"),
        ("checksum.png", lambda path: path.write_bytes(_png()[:60] + b"\0\0\0\0" + _png()[64:]), "mend or remove it"),
        ("empty.png", lambda path: path.write_bytes(b""), "cannot identify image file"),
        ("text.jpg", lambda path: path.write_text("no picture"), "cannot identify image file"),
        ("page.jpg", lambda path: path.write_text("<!DOCTYPE html><p>404"), "is an HTML page"),
        ("pointer.png", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        ("photo.jxl", lambda path: path.write_bytes(b"\xff\x0a" + bytes(64)), "mend or remove it"),
    ],
)  # fmt: skip
def test_damaged_and_unknown_ones_are_named(
    tmp_path: Path, name: str, save: Callable[[Path], object], message: str
) -> None:
    save(tmp_path / name)
    assert list_pictures(tmp_path) == [tmp_path / name]
    with pytest.raises(ConfigError, match=message) as caught:
        read_picture(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_every_damage_of_a_file_is_an_error_or_a_picture(tmp_path: Path) -> None:
    """Bytes changed anywhere: decoders raise a dozen kinds of errors, and all of them must name the file."""
    rng = np.random.default_rng(0)
    for content in (_png(), _jpeg(), _tiff()):
        for _ in range(60):
            damaged = bytearray(content)
            for place in rng.integers(0, len(damaged), 4):
                damaged[place] = rng.integers(256)
            (tmp_path / "x.png").write_bytes(damaged)
            try:
                assert read_picture(tmp_path / "x.png").dtype == np.uint8
            except ConfigError as error:
                assert "x.png" in str(error)  # noqa: PT017 - not all of them are refused


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    """Archives from a Mac hold a `._1.png` beside each picture, which is none."""
    Image.fromarray(RAMP).save(tmp_path / "1.PNG")
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")
    assert list_pictures(tmp_path) == [tmp_path / "1.PNG"]


def _saved(**how: object) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, **how)  # type: ignore[arg-type]
    return file.getvalue()


def _png() -> bytes:
    return _saved(format="PNG")


def _jpeg() -> bytes:
    return _saved(format="JPEG")


def _tiff() -> bytes:
    return _saved(format="TIFF", compression="tiff_lzw")
