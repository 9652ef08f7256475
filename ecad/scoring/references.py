"""Reference sets for `fid` and `kid`: a folder of pictures, stored features, or a file of precomputed statistics."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ecad.arrays import FloatArray, Images
from ecad.atomic import replacing
from ecad.errors import ConfigError
from ecad.scoring.base import SetScorer
from ecad.scoring.distribution import Statistics

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
# Pictures per stored file of features: what an interruption loses at most.
_CHUNK = 512


def load_reference(
    path: Path,
    scorer: SetScorer,
    store: Path | None = None,
    limit: int | None = None,
    on_pictures: Callable[[int, int], None] | None = None,
) -> FloatArray | Statistics:
    """What `scorer.distance` compares with.

    `path` is a folder of pictures (also in sub-folders, for example COCO's val2014 or MJHQ-30K), a .npy file of
    features (n, dimensions), or a .npz file with `features`, or with `mu` and `sigma` as pytorch-fid and clean-fid
    write them. A folder's features are kept in the folder `store`, part by part, so that an interrupted run goes on
    where it was; `limit` takes the first so many pictures by name. `on_pictures(done, total)` tells the progress.
    Raises ConfigError, naming the file, for what is not one of these or cannot be read.
    """
    if path.is_dir():
        pictures = list_pictures(path)[:limit]
        return picture_features(pictures, scorer, store, on_pictures)
    if not path.is_file():
        raise ConfigError(
            f"no reference {path}: give a folder of pictures, a .npz of mu and sigma, or features"
        )
    return _read_arrays(path)


def list_pictures(folder: Path) -> list[Path]:
    """The picture files in a folder and its sub-folders, sorted by name."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES and path.is_file())
    if not found:
        raise ConfigError(f"the folder {folder} has no pictures ({', '.join(sorted(_PICTURES))})")
    return found


def picture_features(
    pictures: Sequence[Path],
    scorer: SetScorer,
    store: Path | None = None,
    on_pictures: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Features (n, dimensions) of picture files of any sizes; with a `store` those computed earlier are read."""
    parts = []
    for start in range(0, len(pictures), _CHUNK):
        chunk = pictures[start : start + _CHUNK]
        kept = None if store is None else store / f"features-{_identity(chunk, scorer)}.npy"
        if kept is not None and kept.is_file():
            features = np.load(kept, allow_pickle=False)
        else:
            features = _features_of(chunk, scorer)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with replacing(kept) as temporary, temporary.open("wb") as file:
                    np.save(file, features)
        parts.append(features)
        if on_pictures is not None:
            on_pictures(start + len(chunk), len(pictures))
    return np.concatenate(parts)


def read_picture(path: Path) -> Images:
    """One picture as uint8 (1, height, width, 3); ConfigError, naming the file, if it is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))[None]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"cannot read the picture {path} ({error}): mend or remove it") from None


def _features_of(pictures: Sequence[Path], scorer: SetScorer) -> FloatArray:
    """Neighbours of one size go through the network together."""
    parts: list[FloatArray] = []
    batch: list[Images] = []
    for path in pictures:
        picture = read_picture(path)
        if batch and (batch[-1].shape != picture.shape or len(batch) == 64):
            parts.append(scorer.features(np.concatenate(batch)))
            batch = []
        batch.append(picture)
    parts.append(scorer.features(np.concatenate(batch)))
    return np.concatenate(parts)


def _identity(pictures: Sequence[Path], scorer: SetScorer) -> str:
    """What the features depend on, shortened: the files, by size and time of change, and the network."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in pictures]
    return hashlib.sha256(json.dumps([scorer.features_name, files]).encode()).hexdigest()[:16]


def _read_arrays(path: Path) -> FloatArray | Statistics:
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        # Of what is no array at all numpy says that it is pickled and could be loaded unsafely: not our advice.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise ConfigError(f"{path} is neither a .npy nor a .npz file of numbers{reason}") from None
    if isinstance(content, np.ndarray):
        return _checked_features(path, content)
    with content:
        if "features" in content:
            return _checked_features(path, content["features"])
        if "mu" not in content or "sigma" not in content:
            raise ConfigError(
                f"{path} holds {', '.join(content) or 'nothing'}: it must hold mu and sigma, or features"
            )
        mean, covariance = (np.asarray(content[name], np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ConfigError(
            f"{path}: mu must be (dimensions,) and sigma (dimensions, dimensions), not {mean.shape} and "
            f"{covariance.shape}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ConfigError(f"{path} has values that are not finite numbers")
    return Statistics(mean, covariance)


def _checked_features(path: Path, features: FloatArray) -> FloatArray:
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ConfigError(
            f"{path} must hold features as floats (n, dimensions), not {features.dtype} {features.shape}"
        )
    return features
