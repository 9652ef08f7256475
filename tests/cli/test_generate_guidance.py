"""`ecad generate` takes the true guidance from the schedule, which was learnt with it."""

from __future__ import annotations

import pytest

from ecad.cli.generate import _true_cfg_scale_of
from ecad.errors import ScheduleError
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
