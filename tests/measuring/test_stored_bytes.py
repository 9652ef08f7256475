"""Bytes of stored outputs, by the schedule alone; `caching/test_memory.py` tests that as much is allocated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.families import find_model
from ecad.families.workload import Workload, workload_for
from ecad.measuring.macs import stored_bytes
from ecad.schedule import Schedule, ScheduleShape, heuristic, load_schedule


def workload(name: str) -> Workload:
    return workload_for(find_model(name))


def only_step_0(name: str, steps: int) -> Schedule:
    load = workload(name)
    counts = {"transformer_blocks": 28}
    if load.family == "flux":
        counts = {"transformer_blocks": 19, "single_transformer_blocks": 38}
    return heuristic("mask:0", ScheduleShape(load.family, steps, counts))


def test_by_hand() -> None:
    """All outputs of step 0 are read until the last step: 28 blocks x 3, two rows x 256 tokens x 1,152 x 2 bytes."""
    schedule = only_step_0("pixart-alpha", 4)
    held = stored_bytes(schedule, workload("pixart-alpha"), 2)
    assert held.tolist() == [28 * 3 * 2 * 256 * 1152 * 2] * 3 + [0]
    assert held.dtype == np.int64
    assert stored_bytes(schedule, workload("pixart-alpha"), 4)[0] == 2 * held[0]
    assert stored_bytes(schedule, workload("pixart-alpha-1024"), 2)[0] == 16 * held[0]
    assert stored_bytes(schedule, workload("pixart-alpha"), 2, first_step=2).tolist() == [0, 0, held[0], 0]


def test_the_whole_output_by_hand() -> None:
    """Two rows of 8 x 32 x 32 numbers in PixArt (noise and variance), 256 tokens of 64 in FLUX."""
    for name, numbers in (("pixart-alpha", 2 * 8 * 32 * 32), ("flux-dev", 256 * 64)):
        always = only_step_0(name, 4)
        schedule = always.replace(recompute_output=np.array([1, 0, 0, 1], dtype=np.bool_))
        held = stored_bytes(schedule, workload(name), 2) - stored_bytes(always, workload(name), 2)
        assert held.tolist() == [2 * numbers] * 2 + [0, 0]


def test_what_only_feeds_is_not_held_when_nobody_reads_it() -> None:
    outputs = 19 * (768 + 256 + 512) + 38 * 768  # proj_out alone of the single-stream blocks
    held = stored_bytes(only_step_0("flux-dev", 3), workload("flux-dev"), 2)
    assert held.tolist() == [outputs * 3072 * 2] * 2 + [0]


def test_the_published_schedule_of_flux(shared_folder: Path) -> None:
    path = shared_folder / "official" / "schedules" / "flux_256" / "ours_fast.json"
    schedule = load_schedule(path)
    small, large = (stored_bytes(schedule, workload(name), 2).max() for name in ("flux-dev", "flux-dev-1024"))
    assert (small, large) == (729 * 2**19, 2187 * 2**20)  # 364.5 and 2,187 MiB


def test_schedule_that_does_not_fit() -> None:
    with pytest.raises(ScheduleError, match="flux"):
        stored_bytes(only_step_0("pixart-alpha", 4), workload("flux-dev"), 2)
