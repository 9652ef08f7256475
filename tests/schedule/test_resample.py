"""Other step counts: hand-worked patterns, the share of the compute, and pipelines that are called with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ecad
from ecad.errors import ScheduleError
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.resample import resample_steps

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})


def resampled(digits: str, steps: int) -> str:
    old = np.array([digit == "1" for digit in digits]).reshape(-1, 1, 1)
    return "".join("01"[int(flag)] for flag in resample_steps(old, steps)[:, 0, 0])


def test_the_whole_output_goes_with_its_components() -> None:
    schedule = heuristic("output:0,2,4", SHAPE)
    assert schedule.resample(3) == heuristic(
        "output:0,2", ScheduleShape("pixart", 3, {"transformer_blocks": 3})
    )
    # Each flag twice: what was reused for one step is reused for two.
    twice = schedule.resample(12)
    assert twice.recompute_output.tolist() == [True, True, False, False] * 3
    assert np.array_equal(twice.recompute_output, twice.recompute["transformer_blocks"][:, 0, 0])
    rng = np.random.default_rng(0)
    for seed in range(20):
        mixed = heuristic(f"random:0.3:{seed}", SHAPE).replace(recompute_output=rng.random(6) < 0.5)
        for steps in (2, 4, 5, 9):
            counts = mixed.resample(steps).recompute["transformer_blocks"].sum(axis=0)
            alone = resample_steps(mixed.recompute["transformer_blocks"], steps).sum(axis=0)
            assert np.array_equal(counts, alone)  # no recomputation is lost


@pytest.mark.parametrize(
    ("old", "steps", "new"),
    [
        ("1010", 8, "11001100"),  # twice the steps: every flag twice
        ("100", 9, "111000000"),
        ("101010", 3, "101"),  # half the steps: 3/6 of 3, rounded up, spread evenly
        ("100100", 2, "10"),
        ("110000", 3, "100"),
        ("100000", 3, "100"),  # the first half of new step 0
        ("10000001", 4, "1000"),  # 2/8 of 4 is 1: step 0 has paid half a step more than it covers
        # An old step is 1.5 new ones: M = 0, 1, 1.5, 1.5, 2.5, 3, 3, rounded up 0, 1, 2, 2, 3, 3, 3.
        ("1010", 6, "110100"),
        ("1111", 7, "1111111"),
        ("1", 5, "11111"),
        ("10", 1, "1"),
    ],
)
def test_by_hand(old: str, steps: int, new: str) -> None:
    assert resampled(old, steps) == new


def test_properties() -> None:
    rng = np.random.default_rng(0)
    for old_steps, steps in ((20, 20), (20, 40), (20, 50), (20, 30), (20, 7), (50, 20), (13, 28), (20, 1)):
        old = rng.random((old_steps, 4, 3)) < 0.4
        old[0] = True
        new = resample_steps(old, steps)
        assert new.shape == (steps, 4, 3)
        assert new.dtype == np.bool_
        assert new[0].all()
        # ceil(N k / S) recomputes, exactly.
        assert np.array_equal(new.sum(axis=0), -(-steps * old.sum(axis=0) // old_steps))
        if steps % old_steps == 0:
            assert np.array_equal(new, np.repeat(old, steps // old_steps, axis=0))
        for step in range(steps):  # no recompute where the old schedule reuses throughout
            first, last = step * old_steps // steps, -(-(step + 1) * old_steps // steps)
            assert not (new[step] & ~old[first:last].any(axis=0)).any()


def test_schedule() -> None:
    schedule = heuristic("fora:2", SHAPE).replace(model={"name": "m"}, provenance={"run": "x"})
    assert schedule.resample(6) is schedule
    double = schedule.resample(12)
    assert (double.steps, double.name, double.model) == (12, "fora:2", {"name": "m"})
    origin = {"steps": 6, "digest": schedule.digest()}
    assert double.provenance == {"run": "x", "resampled_from": origin}
    assert double.recompute_fraction() == schedule.recompute_fraction()
    everything = Schedule.all_recompute(SHAPE)
    assert everything.resample(9) == Schedule.all_recompute(
        ScheduleShape("pixart", 9, {"transformer_blocks": 3})
    )
    flux = heuristic(
        "fora:2", ScheduleShape("flux", 4, {"transformer_blocks": 1, "single_transformer_blocks": 2})
    )
    assert flux.resample(2) == heuristic("mask:0", ScheduleShape("flux", 2, flux.shape.blocks))
    for steps in (0, -1, 1001, True, 2.5):
        with pytest.raises(ScheduleError, match=f"1 to 1000 steps, not {steps!r}"):
            schedule.resample(steps)  # type: ignore[arg-type]


# --- on a pipeline ---


def run(pipe: Any, steps: int) -> np.ndarray:
    return np.asarray(
        pipe(
            "a red circle",
            num_inference_steps=steps,
            use_resolution_binning=False,
            clean_caption=False,
            max_sequence_length=12,
            output_type="np",
            generator=torch.Generator().manual_seed(0),
        ).images
    )


def test_a_number_of_steps_resamples_at_once(tiny_pipe: Any) -> None:
    schedule = heuristic("random:0.4:1", SHAPE)
    with ecad.applied(tiny_pipe, schedule.resample(4)):
        expected = run(tiny_pipe, 4)
    with ecad.applied(tiny_pipe, schedule, steps=4) as applied:
        assert applied.schedule == schedule.resample(4)
        assert np.array_equal(run(tiny_pipe, 4), expected)
        with pytest.raises(ScheduleError, match="this call runs 6 steps .*for 4 steps.*steps='resample'"):
            run(tiny_pipe, 6)
    with ecad.applied(tiny_pipe, schedule), pytest.raises(ScheduleError, match="this call runs 4 steps"):
        run(tiny_pipe, 4)  # off by default


def test_resample_follows_each_call(tiny_pipe: Any) -> None:
    schedule = heuristic("random:0.4:1", SHAPE)
    expected = {}
    for steps in (6, 4, 9):
        with ecad.applied(tiny_pipe, schedule.resample(steps)) as applied:
            expected[steps] = run(tiny_pipe, steps), applied.recomputed, applied.reused
    with ecad.applied(tiny_pipe, schedule, steps="resample") as applied:
        for steps in (6, 4, 9, 6):
            images, recomputed, reused = expected[steps]
            assert np.array_equal(run(tiny_pipe, steps), images)
            assert (applied.recomputed, applied.reused) == (recomputed, reused)
            assert applied.schedule == schedule.resample(steps)
            assert applied.stored_outputs == 0


def test_wrong_steps_leave_the_model_untouched(tiny_pipe: Any) -> None:
    schedule = heuristic("fora:2", SHAPE)
    for steps, message in (
        ("auto", "'resample', not 'auto'"),
        (0, "1 to 1000 steps, not 0"),
        (True, "not True"),
    ):
        with pytest.raises(ScheduleError, match=message):
            ecad.apply(tiny_pipe, schedule, steps=steps)
    with pytest.raises(ScheduleError, match="needs a pipeline"):
        ecad.apply(tiny_pipe.transformer, schedule, steps="resample")
    with ecad.applied(tiny_pipe.transformer, schedule, steps=4) as applied:
        assert applied.schedule.steps == 4
