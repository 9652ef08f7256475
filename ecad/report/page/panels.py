"""Schedules and calibrations as panels of cells: what the page's heatmaps draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecad.arrays import FloatArray
from ecad.schedule import HOLDS_DENOISED, Calibration, Schedule

NOT_RUN = "-"  # in a step where the transformer's last output is reused nothing of it is read
ABSENT = " "  # a block without this component


def schedule_panels(schedule: Schedule) -> list[dict[str, Any]]:
    """A record per panel and step: `bits` has a character per block: 1 recomputed, 0 reused, `NOT_RUN` or `ABSENT`.

    A panel is a component of a list of blocks; the first is the whole output's, if the schedule ever reuses it. With
    several lists its title has two lines.
    """
    runs = schedule.recompute_output
    records: list[dict[str, Any]] = []
    if schedule.reuses_output:
        held = " (clean sample held)" if schedule.holds == HOLDS_DENOISED else ""
        title = f"whole output{held}: {_percent(float(runs.mean()))}"
        records += [
            {"panel": title, "step": step, "bits": str(int(value))} for step, value in enumerate(runs)
        ]
    lists = schedule.spec.block_lists
    for block_list in lists:
        array, present = schedule.recompute[block_list.name], schedule.shape.present[block_list.name]
        prefix = f"{block_list.name}\n" if len(lists) > 1 else ""
        for index, component in enumerate(block_list.component_names):
            is_there = present[:, index]
            if not is_there.any():
                continue
            computed = array[:, :, index] & runs[:, None]
            title = f"{prefix}{component}: {_percent(float(computed[:, is_there].mean()))}"
            for step in range(schedule.steps):
                bits = "".join(
                    ABSENT if not there else NOT_RUN if not runs[step] else "1" if value else "0"
                    for value, there in zip(array[step, :, index], is_there, strict=True)
                )
                records.append({"panel": title, "step": step, "bits": bits})
    return records


def calibration_panels(calibration: Calibration) -> dict[str, FloatArray]:
    """Title -> distances, shape (computed at step, used at step): of the whole transformer's output, and of each
    component as the mean over the blocks that have it."""
    panels = {"whole output": calibration.output}
    lists = calibration.shape.spec.block_lists
    for block_list in lists:
        values, present = calibration.components[block_list.name], calibration.shape.present[block_list.name]
        prefix = f"{block_list.name}\n" if len(lists) > 1 else ""
        for index, component in enumerate(block_list.component_names):
            if present[:, index].any():
                panels[f"{prefix}{component}"] = values[:, :, present[:, index], index].mean(axis=2)
    return panels


def neighbour_distances(distances: FloatArray) -> FloatArray:
    """What is wrong at each step from 1 on if the output of the step before is used there, shape (steps - 1,)."""
    return np.diagonal(distances, offset=1)


def _percent(fraction: float) -> str:
    return f"{fraction:.0%}"
