"""Files of videos: GIF by Pillow, MP4 by what diffusers finds to encode it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ecad.errors import ConfigError

SUFFIXES = (".gif", ".mp4")

# Packages of diffusers' `export_to_video`, either of these groups.
_ENCODERS = (("imageio", "imageio_ffmpeg"), ("cv2",))


def check_video_file(path: Path) -> None:
    """ConfigError for a name that no video can be written to here."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"cannot write a video to {path}: the name must end in .gif or .mp4")
    if suffix == ".mp4" and not any(all(map(find_spec, group)) for group in _ENCODERS):
        raise ConfigError(
            f"cannot write {path}: MP4 needs an encoder (pip install imageio imageio-ffmpeg); .gif needs nothing"
        )


def write_video(path: Path, frames: Sequence[Any], frames_per_second: int) -> None:
    """A GIF that begins again, or an MP4, as the name says; see `check_video_file`. `frames` are Pillow's images."""
    first, *others = frames
    if path.suffix.lower() == ".gif":
        milliseconds = max(20, round(1000 / frames_per_second))  # shorter ones many viewers show slowly
        first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
        return
    from diffusers.utils import export_to_video

    # The codec halves the colours' resolution: sides must be even.
    even = (0, 0, *(side - side % 2 for side in first.size))
    export_to_video([frame.crop(even) for frame in frames], str(path), fps=frames_per_second)
