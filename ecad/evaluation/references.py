"""Reference sets for metrics of a whole set (FID): a folder of images, or a file of features or statistics."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ecad.errors import ConfigError
from ecad.evaluation.samplers.base import Images
from ecad.evaluation.scorers.base import SetScorer

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FEATURES = "features"


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path; hidden files are none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def check_reference(source: str) -> str:
    """A hash of what the reference is made of; ConfigError if it is nothing that can be one.

    Of a folder the names and sizes of its images count, of a file its bytes.
    """
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            files = image_files(path)
            if len(files) < 2:
                kinds = ", ".join(_SUFFIXES)
                raise ConfigError(
                    f"the reference folder {path} has {len(files)} images ({kinds}): it needs at least 2"
                )
            listing = "\n".join(
                f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files
            )
            return hashlib.sha256(listing.encode()).hexdigest()
        if not path.is_file():
            raise ConfigError(f"no reference {path}: give a folder of images or an .npz file")
        _read_npz(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        return digest.hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read the reference {path}: {error.strerror}") from None


def load_reference(
    source: str, scorer: SetScorer, batch_size: int, on_images: Callable[[int, int], None] | None = None
) -> Any:
    """What `scorer.distance` compares with: features (n, dimensions), or the arrays of a statistics file by name.

    `on_images(done, total)` is called after each batch of a folder.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        files = image_files(path)
        parts = []
        done = 0
        for images in _batches(files, batch_size):
            parts.append(scorer.features(images))
            done += len(images)
            if on_images is not None:
                on_images(done, len(files))
        return np.concatenate(parts)
    return _read_npz(path)


def _read_npz(path: Path) -> Any:
    """The array "features" if there is one, else all arrays by name (statistics: mu and sigma)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (
        OSError,
        ValueError,
        EOFError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:  # TypeError: a single array
        raise ConfigError(
            f"{path} is no readable .npz file ({_first_line(error)}): give a folder of images, or arrays saved with "
            'numpy.savez: "features" (n, dimensions), or "mu" and "sigma"'
        ) from None
    if _FEATURES in arrays:
        features: npt.NDArray[Any] = arrays[_FEATURES]
        if features.ndim != 2 or len(features) < 2:
            raise ConfigError(
                f"{path}: its features have the shape {features.shape}, expected (n, dimensions)"
            )
        return features
    if not {"mu", "sigma"} <= set(arrays):
        raise ConfigError(f'{path} holds {sorted(arrays)}: expected "features", or "mu" and "sigma"')
    return arrays


def _batches(files: Sequence[Path], batch_size: int) -> Iterator[Images]:
    """Images of equal size next to each other, at most `batch_size` at once; order as in `files`."""
    batch: list[npt.NDArray[np.uint8]] = []
    for file in files:
        try:
            with Image.open(file) as image:
                array = np.asarray(image.convert("RGB"), dtype=np.uint8)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ConfigError(
                f"{file} is no readable image ({_first_line(error)}): remove it from the reference folder or "
                "replace it"
            ) from None
        if batch and (len(batch) == batch_size or array.shape != batch[0].shape):
            yield np.stack(batch)
            batch = []
        batch.append(array)
    if batch:
        yield np.stack(batch)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
