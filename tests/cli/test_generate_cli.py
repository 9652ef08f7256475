"""`ecad generate`: true guidance as the schedule was learnt with it, and times with their range."""

from __future__ import annotations

import pytest

from ecad.cli.generate import _stated, _true_cfg_scale_of
from ecad.errors import ScheduleError
from ecad.measuring.timing import LatencyMeasurement
from ecad.schedule import ScheduleShape, heuristic

FORA = heuristic(
    "fora:2", ScheduleShape("flux", 4, {"transformer_blocks": 1, "single_transformer_blocks": 1})
)


@pytest.mark.parametrize(("recorded", "found"), [({}, None), ({"true_cfg_scale": 4}, 4.0)])
def test_what_a_search_recorded(recorded: dict[str, object], found: float | None) -> None:
    assert _true_cfg_scale_of(FORA.replace(model=recorded)) == found


@pytest.mark.parametrize("value", ["4", True, 0.5, 1e9])
def test_what_is_no_scale_is_refused(value: object) -> None:
    with pytest.raises(ScheduleError, match=r"model\.true_cfg_scale must be a number from 1 to 1000, not"):
        _true_cfg_scale_of(FORA.replace(model={"true_cfg_scale": value}))


@pytest.mark.parametrize(
    ("seconds", "stated"),
    [
        ((0.25,), "0.250 s (1 of 1 timings)"),
        ((0.25, 0.5), "0.250 s (1 of 2 timings)"),
        ((0.26, 0.5, 0.25, 0.255), "0.255 s (0.250 to 0.260, 3 of 4 timings)"),
    ],
)
def test_times_are_stated_with_their_range(seconds: tuple[float, ...], stated: str) -> None:
    assert _stated(LatencyMeasurement(seconds)) == stated
