"""Figures: what is in which panel."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.schedule import Calibration, ScheduleShape

plots = pytest.importorskip("ecad.report.plots", reason="matplotlib is not installed")


def test_a_calibration_has_a_panel_for_each_component() -> None:
    shape = ScheduleShape("flux", 4, {"transformer_blocks": 2, "single_transformer_blocks": 3})
    rng = np.random.default_rng(0)
    components = {name: rng.random((4, *size)) for name, size in shape.array_shapes().items()}
    calibration = Calibration(shape, components, rng.random((4, 4)), {"model": "toy", "images": 2})
    figure = plots.calibration_figure(calibration)
    panels = {axes.get_title(loc="left"): axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert list(panels)[:2] == ["whole output", "transformer_blocks attn"]
    assert len(panels) == 7
    # An output is used at later steps only.
    later = np.triu(np.ones((4, 4), dtype=bool))
    assert np.array_equal(panels["whole output"].mask, ~later)
    assert np.array_equal(panels["whole output"].data, calibration.output)
    # The mean over the blocks.
    expected = components["single_transformer_blocks"][:, :, :, 2].mean(axis=2)
    assert np.allclose(panels["single_transformer_blocks proj_out"].data, expected)
    assert figure.get_suptitle().startswith("toy, 4 steps, 2 images: ")
