"""Small pictures: exact where they are small already, and where they lie."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, features

from ecad.report.samples import row_folder, sample_stem, small_picture


@pytest.mark.skipif(not features.check("webp"), reason="Pillow was built without WebP")
def test_small_images_are_kept_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(small_picture(image))) as kept:
        assert np.array_equal(np.asarray(kept.convert("RGB")), image)


def test_large_images_are_reduced() -> None:
    content = small_picture(np.zeros((1024, 512, 3), np.uint8))
    with Image.open(io.BytesIO(content)) as kept:
        assert kept.size == (160, 320)


def test_names() -> None:
    assert row_folder(7, "mask:0,2 of/mine") == "07-mask-0-2-of-mine"
    assert sample_stem(3, 1000000003) == "003-1000000003"
