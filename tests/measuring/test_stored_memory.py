"""What stored outputs take is said, and refused with the remedy where it cannot fit."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from ecad.devices import free_memory_bytes
from ecad.errors import ConfigError, TransientEvaluationError
from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.stored_memory import Keeping, StoredLimit, stored_memory_note
from ecad.schedule import ScheduleShape, heuristic

GB = 10**9


def keeping(model: str, summed_runs: bool = False) -> Keeping:
    """In 16 bits."""
    return Keeping(workload_for(find_model(model)), 2, summed_runs)


def test_by_hand() -> None:
    """Wan 2.1: 90 outputs of 32,760 tokens x 1,536 in 16 bits for each of two passes, and the latent video twice."""
    tokens = 21 * 30 * 52
    outputs = 90 * 2 * tokens * 1536 * 2
    small = keeping("wan2.1-1.3b")
    assert small.most_bytes == outputs + 2 * 16 * 21 * 60 * 104 * 2
    note = stored_memory_note(small, 1, 50, 80 * GB)
    assert note == (
        "stored outputs of a batch of 1: 18.1 GB where every block is reused, at most 18.1 GB, of 80 GB of memory"
    )
    assert stored_memory_note(small, 1, 50, None).endswith("at most 18.1 GB")
    # Schedules of whole steps keep the latent video only.
    assert "1: 0.00839 GB where the whole output is reused, at most 0.00839 GB" in stored_memory_note(
        small, 1, 50, GB, only_steps=True
    )


def test_summed_runs_by_hand() -> None:
    """Wan 2.2 A14B at full size: three sums of 75,600 tokens x 5,120 in 32 bits for each of two passes."""
    large = keeping("wan2.2-a14b", summed_runs=True)
    sums = 3 * 2 * 21 * 45 * 80 * 5120 * 4
    assert large.reusing_every_block_bytes(40) == sums
    assert stored_memory_note(large, 1, 40, 40 * GB) == (
        "stored outputs of a batch of 1: 9.29 GB where every block is reused, at most 186 GB, of 40 GB of memory "
        "(schedules that need more are not tried)"
    )
    shape = ScheduleShape("wan", 40, {"blocks": 40})
    limit = StoredLimit(large, 40 * GB)
    assert limit.allows(heuristic("fora:3", shape), 4)
    with pytest.raises(
        TransientEvaluationError, match=r"batches of 5 .* would take 46.4 GB, and 40 GB are free"
    ):
        limit.refuse(heuristic("fora:3", shape), 5)
    with pytest.raises(TransientEvaluationError, match=r"batches of 1 .* would take 124 GB"):
        limit.refuse(heuristic("attn:2", shape), 1)


@pytest.mark.parametrize(
    ("model", "batch_size", "steps", "free", "message"),
    [
        (
            "wan2.2-a14b",
            1,
            40,
            40,
            (
                "batch of 1 take 186 GB where every block is reused, and 40 GB are free: give --summed-runs, which "
                "takes 9.29 GB there, or make it smaller (--height"
            ),
        ),
        (
            "wan2.1-1.3b",
            8,
            50,
            80,
            (
                "batch of 8 take 145 GB where every block is reused, and 80 GB are free: give --batch-size 4 or less, "
                "or give --summed-runs, which takes 9.66 GB there"
            ),
        ),
        (
            "wan2.1-1.3b",
            16,
            50,
            10,
            "are free: give --summed-runs and --batch-size 8, which takes 9.66 GB there, or make it smaller",
        ),
        ("flux-dev-1024", 64, 50, 10, "are free: give --batch-size 4 or less"),
        ("flux-dev-1024", 1, 50, 1, "are free: give --granularity steps, or make it smaller (--height"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_remedy(
    model: str, batch_size: int, steps: int, free: int, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        stored_memory_note(keeping(model), batch_size, steps, free * GB)
    assert message in str(caught.value)


def test_where_summed_runs_do_not_help_either() -> None:
    with pytest.raises(
        ConfigError, match=r"batch of 2 take 18.6 GB .* are free: give --batch-size 1 or less$"
    ):
        stored_memory_note(keeping("wan2.2-a14b", summed_runs=True), 2, 40, 15 * GB)


def test_memory_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = free_memory_bytes(torch.device("cpu"))
    assert found is not None
    assert 10**7 < found <= psutil.virtual_memory().total
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=7, total=8))
    assert free_memory_bytes(torch.device("cpu")) == 7
