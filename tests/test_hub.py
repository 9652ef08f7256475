"""A hub that refuses, never answers or is switched off: what is missing shows at once, what is cached is used."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecad import hub
from ecad.errors import ConfigError, ModelError, ScheduleError
from ecad.schedule import load_schedule


@pytest.fixture(params=["refuses", "never answers"])
def away(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of such a hub, in the environment and for libraries that have read that already."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if request.param == "never answers":
            listening.listen(10)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        yield url


def test_every_way_to_the_hub_ends_at_once(away: str) -> None:
    import torch

    from ecad.sampling.baseline import load_baseline
    from ecad.sampling.baseline_spec import parse_baseline
    from ecad.sampling.loading import load_model
    from ecad.scoring.image_reward.scorer import ImageRewardScorer

    open_clip = pytest.importorskip("open_clip")
    from ecad.scoring.clip import ClipScorer

    assert "ViT-B-32" in open_clip.list_models()
    ways: list[tuple[type[Exception], Any]] = [
        (ScheduleError, lambda: load_schedule("hf://owner/name/fast.yaml")),
        (ModelError, lambda: load_model("owner/name", "cpu")),
        (ModelError, lambda: load_model("pixart-alpha-512", "cpu")),
        (ModelError, lambda: load_baseline(parse_baseline("owner/name:steps=1"), torch.device("cpu"))),
        (ConfigError, lambda: ImageRewardScorer("cpu")),
        (ConfigError, lambda: ClipScorer("cpu").check([], 64, 64)),
    ]
    for kind, way in ways:
        with pytest.raises(kind, match=rf"cannot reach {away} \(.* cache") as error:
            way()
        assert "\n" not in str(error.value)
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE is False


def test_it_is_asked_once_and_a_wait_ends(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.monotonic()
    assert "cannot reach" in str(hub.why_away())
    assert time.monotonic() - start < 5.0
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: pytest.fail("asked again"))
    assert "cannot reach" in str(hub.why_away())


def test_switched_off_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: pytest.fail("asked"))
    with hub.hub_or_cache() as why:
        assert why == "HF_HUB_OFFLINE is set"


def test_what_is_in_the_cache_is_used(away: str, tmp_path: Path) -> None:
    from ecad.scoring.needs import hub_file

    commit = "1" * 40
    folder = tmp_path / "hub" / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "weights.bin").write_bytes(b"weights")
    assert hub_file("owner/name", "weights.bin", "no").read_bytes() == b"weights"
    with pytest.raises(ConfigError, match=r"not in the hub's cache\): put it there"):
        hub_file("owner/name", "others.bin", "put it there")


def test_an_address_that_nobody_answers_at_is_an_error_of_the_system() -> None:
    from ecad.scoring.needs import check_address

    with pytest.raises(OSError):
        check_address("http://127.0.0.1:9/weights.pth")
