"""Videos made of videos: GIF by Pillow, MP4 by OpenCV where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecad.arrays import Images
from ecad.errors import ConfigError
from ecad.report.images import side_by_side

SUFFIXES = (".gif", ".mp4")


def check_video_file(path: Path) -> None:
    """ConfigError for a name that no video can be written to here."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"cannot write a video to {path}: the name must end in .gif or .mp4")
    if suffix == ".mp4" and find_spec("cv2") is None:
        raise ConfigError(
            f"cannot write {path}: MP4 needs opencv-python (pip install opencv-python); .gif needs nothing"
        )


def side_by_side_video(videos: Sequence[Images], labels: Sequence[str]) -> list[Image.Image]:
    """The frames of videos (frames, height, width, 3) of equal length next to each other, a label above each."""
    return [side_by_side(frames, labels) for frames in zip(*videos, strict=True)]


def write_video(path: Path, frames: Sequence[Image.Image], frames_per_second: float) -> None:
    """A GIF that begins again, or an MP4, as the name says; see `check_video_file`."""
    if path.suffix.lower() == ".gif":
        first, *others = frames
        milliseconds = max(20, round(1000 / frames_per_second))  # shorter ones many viewers show slowly
        first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
        return
    cv2: Any = import_module("cv2")  # no requirement and no extra of ecad: used where it happens to be
    # The codec halves the colours' resolution: sides must be even.
    width, height = (side + side % 2 for side in frames[0].size)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, (width, height))
    if not writer.isOpened():
        raise ConfigError(f"cannot write {path}: OpenCV has no encoder for MP4 here; use a .gif")
    try:
        for frame in frames:
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(frame)
            writer.write(np.asarray(canvas)[:, :, ::-1])  # OpenCV wants blue first
    finally:
        writer.release()
