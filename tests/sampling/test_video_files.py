"""Files of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecad.errors import ConfigError
from ecad.report.images import side_by_side_video
from ecad.sampling import video_files
from ecad.sampling.video_files import check_video_file, write_video


def pair() -> list[Any]:
    dark = np.zeros((3, 40, 60, 3), np.uint8)
    bright = dark + np.array([50, 100, 200], np.uint8)[:, None, None, None]
    return [dark, bright]


def test_a_gif_has_the_frames_of_both(tmp_path: Path) -> None:
    frames = side_by_side_video(pair(), ["uncached", "fast"])
    write_video(tmp_path / "x.gif", frames, 10)
    with Image.open(tmp_path / "x.gif") as picture:
        assert (picture.n_frames, picture.info["duration"], picture.info["loop"]) == (3, 100, 0)  # type: ignore[attr-defined]
        assert picture.size == frames[0].size
        for number, brightness in enumerate((50, 100, 200)):
            picture.seek(number)
            rgb = picture.convert("RGB")
            assert rgb.getpixel((rgb.width - 20, rgb.height // 2)) == (brightness,) * 3
            assert rgb.getpixel((20, rgb.height // 2)) == (0, 0, 0)


def test_mp4(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    write_video(tmp_path / "x.mp4", side_by_side_video(pair(), ["a", "b"]), 10)
    reader = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    found = [frame for ok, frame in iter(reader.read, (False, None)) if ok]
    assert len(found) == 3
    height, width = found[1].shape[:2]
    assert abs(int(found[1][height // 2, width - 20, 0]) - 100) < 12


def test_names_that_are_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"the name must end in \.gif or \.mp4"):
        check_video_file(tmp_path / "x.png")
    check_video_file(tmp_path / "x.GIF")
    monkeypatch.setattr(video_files, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="MP4 needs an encoder"):
        check_video_file(tmp_path / "x.mp4")
