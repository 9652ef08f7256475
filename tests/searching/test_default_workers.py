"""Where a search runs if nobody says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ecad.searching import workers
from ecad.searching.settings import SearchSettings


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def default(threads: int | None = None, **settings: object) -> int | None:
    given = {"model": "pixart-mini", "generations": 10, **settings}
    return workers.default_workers(SearchSettings.from_mapping(given).resolved(), threads)


def test_a_long_search_on_a_cpu_has_a_process_for_each_core(cores: None) -> None:
    assert default() == 4


def test_at_most_eight(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert default() == 8


def test_a_run_that_goes_on_keeps_its_threads(cores: None) -> None:
    assert default(threads=2) == 2
    assert default(threads=4) is None


def test_large_models_and_those_of_the_hub_stay_in_this_process(
    cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = {"prompts": "scenes-search", "heldout_prompts": "scenes-heldout"}
    assert default(model="pixart-alpha", quality="image-reward", **prompts) is None
    monkeypatch.setattr(workers, "_LARGEST_MODEL_BYTES", 10**6)
    assert default() is None


def test_this_process_for_a_short_one_one_core_or_without_ray(
    cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default(generations=1, population=4, prompts_limit=8) is None
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    assert default() is None
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert default() is None


def test_more_candidates_share_first_steps_where_that_takes_next_to_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here a copy of what is stored takes 4 MB an image, eight of them of eight images .26 GB."""
    monkeypatch.setattr(workers, "most_stored_bytes", lambda workload, itemsize: 1_000_000 * itemsize)
    transformer = SimpleNamespace(dtype=torch.float32)
    subject = SimpleNamespace(
        workload=None, model=SimpleNamespace(pipe=SimpleNamespace(transformer=transformer))
    )

    def default_of(free_bytes: int | None) -> int:
        run: Any = SimpleNamespace(
            subject=subject, settings=SimpleNamespace(batch_size=8), free_bytes=free_bytes
        )
        return workers.default_together(run)

    assert [default_of(free) for free in (None, 5_000_000_000, 6_000_000_000)] == [4, 4, 8]
