"""Reference sets for `fid` and `kid`: a folder of pictures, stored features, or a file of precomputed statistics."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecad.arrays import FloatArray, Images
from ecad.atomic import replacing
from ecad.errors import ConfigError
from ecad.foreign_files import LONGEST_START, mistaken_for
from ecad.scoring.base import SetScorer
from ecad.scoring.distribution import Statistics
from ecad.scoring.pictures import PICTURE_ENDINGS, read_picture

_READER = "as shown"  # how pictures are read: features of an earlier reader are not taken from a store
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
    """The picture files in a folder and its sub-folders, sorted by name; hidden ones (`._1.png`) are none."""
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise ConfigError(f"the folder {folder} has no pictures ({', '.join(sorted(PICTURE_ENDINGS))})")
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
    return hashlib.sha256(json.dumps([scorer.features_name, _READER, files]).encode()).hexdigest()[:16]


def _read_arrays(path: Path) -> FloatArray | Statistics:
    try:
        # All arrays are read here: damage inside a .npz shows only then.
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return _checked_features(path, content)
        with content:
            if "features" in content:
                return _checked_features(path, content["features"])
            if "mu" not in content or "sigma" not in content:
                raise ConfigError(_no_statistics(path, content))
            return _checked_statistics(path, content["mu"], content["sigma"])
    except ConfigError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        with path.open("rb") as file:
            start = file.read(LONGEST_START)
        mistake = mistaken_for(start)
        if mistake is not None and not start.startswith(b"PK"):  # a .npz is a ZIP archive
            raise ConfigError(f"{path} {mistake}") from None
        # Of what is no array at all numpy says that it is pickled and could be loaded unsafely: not our advice.
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise ConfigError(
            f"{path} is neither a .npy nor a .npz file of numbers{reason}: save it again, as in "
            "np.savez(file, mu=mean, sigma=covariance), or get an undamaged copy"
        ) from None


def _no_statistics(path: Path, content: Mapping[str, Any]) -> str:
    """What to say of a .npz with other arrays."""
    text = f"{path} holds {', '.join(content) or 'nothing'}: it must hold mu and sigma, or features"
    pictures = [name for name, array in content.items() if array.ndim == 4 and array.dtype == np.uint8]
    if pictures:
        text += f"; {pictures[0]} looks like pictures: save them as PNG files and give their folder"
    return text


def _checked_statistics(path: Path, mu: npt.NDArray[Any], sigma: npt.NDArray[Any]) -> Statistics:
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)) or len(mu) == 0:
        raise ConfigError(
            f"{path}: mu must be (dimensions,) and sigma (dimensions, dimensions), not {mu.shape} and {sigma.shape}"
        )
    if mu.dtype.kind not in "fiu" or sigma.dtype.kind not in "fiu":
        raise ConfigError(
            f"{path}: mu and sigma must be arrays of real numbers, not {mu.dtype} and {sigma.dtype}"
        )
    mean, covariance = mu.astype(np.float64), sigma.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ConfigError(f"{path} has values that are not finite numbers: compute its statistics again")
    variances = np.diag(covariance)
    if (variances < 0).any() or np.abs(covariance - covariance.T).max() > 1e-3 * max(variances.max(), 1e-12):
        raise ConfigError(f"{path}: its sigma is no covariance, which is symmetric with no negative variance")
    return Statistics(mean, covariance)


def _checked_features(path: Path, features: npt.NDArray[Any]) -> FloatArray:
    if features.ndim != 2 or features.dtype.kind != "f":
        raise ConfigError(
            f"{path} must hold features as floats (n, dimensions), not {features.dtype} {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ConfigError(f"{path} has values that are not finite numbers: compute its features again")
    return features
