"""What stored outputs take is said, and refused with the remedy where it cannot fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecad.devices import free_memory_bytes
from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.stored_memory import most_held_bytes, most_stored_bytes, stored_memory_note, too_large
from ecad.schedule import Schedule, ScheduleShape, heuristic


def test_by_hand() -> None:
    """Wan 2.1: 90 outputs of 32,760 tokens x 1,536 in 16 bits for each of two passes, and the latent video twice."""
    load = workload_for(find_model("wan2.1-1.3b"))
    tokens = 21 * 30 * 52
    outputs = 90 * 2 * tokens * 1536 * 2
    assert most_stored_bytes(load, 2) == outputs + 2 * 16 * 21 * 60 * 104 * 2
    note = stored_memory_note(load, 2, 1, 50, 80 * 10**9)
    assert note == (
        "stored outputs of a batch of 1: 18.1 GB where every block is reused, at most 18.1 GB, of 80 GB of memory"
    )
    assert stored_memory_note(load, 2, 1, 50, None).endswith("at most 18.1 GB")


def test_what_cannot_fit_is_refused_with_the_remedy() -> None:
    load = workload_for(find_model("wan2.1-1.3b"))
    with pytest.raises(
        ConfigError,
        match=r"batch of 8 take 145 GB .* 80 GB are free: give --summed-runs \(then 9.66 GB\), or give --batch-size 4",
    ):
        stored_memory_note(load, 2, 8, 50, 80 * 10**9)
    with pytest.raises(
        ConfigError, match=r"batch of 1 .* make it smaller \(--height, --width, .*--num-frames\)"
    ):
        stored_memory_note(load, 2, 1, 50, 10**9)


def test_memory_of_this_machine() -> None:
    found = free_memory_bytes(torch.device("cpu"))
    assert found is None or 10**8 < found < 10**15


def test_sums_are_what_remains_of_a_large_video_model() -> None:
    """Wan 2.2 A14B: 75,600 tokens x 5,120 numbers for two passes, three sums of them in float32 or 120 in 16 bits."""
    load = workload_for(find_model("wan2.2-a14b"))
    number = 2 * 75_600 * 5_120
    with pytest.raises(
        ConfigError, match=r"take 186 GB .* 60 GB are free: give --summed-runs \(then 9.29 GB\)"
    ):
        stored_memory_note(load, 2, 1, 40, 60 * 10**9)
    with pytest.raises(ConfigError, match=r"--summed-runs with --batch-size 6 or less \(then 55.7 GB\)"):
        stored_memory_note(load, 2, 8, 40, 60 * 10**9)
    note = stored_memory_note(load, 2, 1, 40, 60 * 10**9, summed_runs=True)
    assert "9.29 GB where every block is reused, as sums, at most 186 GB" in note
    note = stored_memory_note(load, 2, 1, 40, None, summed_runs=True, only_whole_steps=True)
    # And the whole output.
    assert note.endswith("at most 9.31 GB")
    shape = ScheduleShape("wan", 40, {"blocks": 40})
    every_other = heuristic("fora:2", shape)
    assert most_held_bytes(every_other, load, 2, summed_runs=True) == 3 * 4 * number
    # A single read takes longer as sums than one by one: not by default.
    assert most_held_bytes(every_other, load, 2) == 120 * 2 * number


def test_sums_never_take_more_than_outputs() -> None:
    """Not where stretches are many and small, either."""
    load = workload_for(find_model("wan2.1-1.3b"))
    saves = []
    for share in (0.002, 0.05, 0.3):
        for seed in range(3):
            random = np.random.default_rng(seed).random((12, 30, 3)) < share
            schedule = Schedule("wan", {"blocks": random}, recompute_output=np.ones(12, dtype=bool))
            held = {way: most_held_bytes(schedule, load, 2, summed_runs=way) for way in (True, False)}
            assert held[True] <= held[False] <= most_stored_bytes(load, 2)
            saves.append(held[True] < held[False])
    assert any(saves)


def test_the_memory_of_this_machine_is_shared_between_processes() -> None:
    whole, third = (free_memory_bytes(torch.device("cpu"), processes) for processes in (1, 3))
    assert whole is not None
    assert third is not None
    assert 2.5 < whole / third < 3.5


def test_too_large() -> None:
    assert too_large(10**9, 2, 2 * 10**9) is None
    assert too_large(10**9, 3, 2 * 10**9) == "the stored outputs of 3 images take 3 GB, and 2 GB are free"
