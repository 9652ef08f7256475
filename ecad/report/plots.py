"""The figure of a calibration."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecad.report.page.panels import calibration_panels
from ecad.schedule import Calibration


def calibration_figure(calibration: Calibration) -> Figure:
    """How far each output is from itself at every other step: of the whole transformer, and of each component as the
    mean over the blocks that have it. What lies before the step at which an output is computed is left blank."""
    panels = calibration_panels(calibration)
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.0 * columns + 1.2, 3.1 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    scale = ScalarMappable(Normalize(0.0, 1.0), "magma")  # beyond 1 an output is no better than none at all
    is_past = np.tril(
        np.ones_like(calibration.output, dtype=np.bool_), k=-1
    )  # nothing is used before it is there
    for number, (axes, (title, values)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        axes.imshow(np.ma.masked_array(values, is_past), norm=scale.norm, cmap=scale.cmap)
        axes.set_title(" ".join(title.split()), fontsize=9, loc="left")
        if number + columns >= len(panels):
            axes.set_xlabel("used at step", fontsize=8)
        if number % columns == 0:
            axes.set_ylabel("computed at step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["left", "bottom"]].set_color("0.7")
        axes.spines[["top", "right"]].set_visible(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
    bar = figure.colorbar(scale, ax=grid, shrink=0.7, extend="max", pad=0.02)
    bar.set_label("relative distance", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    source = calibration.source
    figure.suptitle(
        f"{source.get('model', '')}, {calibration.shape.steps} steps, {source.get('images', '?')} images: how wrong an "
        "output is at a later step\n(0: what that step would compute itself; from 1 on: no better than no output)",
        fontsize=10,
    )
    return figure
