"""What stored outputs take is said, and refused with the remedy where it cannot fit."""

from __future__ import annotations

import pytest
import torch

from ecad.devices import free_memory_bytes
from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.stored_memory import most_stored_bytes, stored_memory_note


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
        ConfigError, match=r"batch of 8 take 145 GB .* 80 GB are free: give --batch-size 4 or less"
    ):
        stored_memory_note(load, 2, 8, 50, 80 * 10**9)
    with pytest.raises(
        ConfigError, match=r"batch of 1 .* make it smaller \(--height, --width, .*--num-frames\)"
    ):
        stored_memory_note(load, 2, 1, 50, 10 * 10**9)


def test_memory_of_this_machine() -> None:
    found = free_memory_bytes(torch.device("cpu"))
    assert found is None or 10**8 < found < 10**15
