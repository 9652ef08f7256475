"""Latency: what is timed and how, and the table that predicts it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ecad.errors import ConfigError, ScheduleError
from ecad.measuring.latency_table import LatencyTable, _relative_fit, calibration_schedules
from ecad.schedule import Schedule, ScheduleShape, heuristic

SHAPE = ScheduleShape("pixart", 10, {"transformer_blocks": 4})
PARTS = tuple(("transformer_blocks", name) for name in ("attn1", "attn2", "ff"))


def seconds_of(schedule: Schedule, constant: float, per_execution: tuple[float, float, float]) -> float:
    counts = schedule.recompute_counts()
    return constant + sum(counts[part] * value for part, value in zip(PARTS, per_execution, strict=True))


def calibration(seed: int = 0) -> list[Schedule]:
    return calibration_schedules(SHAPE, np.random.default_rng(seed))


class TestLatencyTable:
    def test_recovers_known_constants(self) -> None:
        truth = (0.003, 0.001, 0.002)
        schedules = calibration()
        table = LatencyTable.fit(schedules, [seconds_of(item, 0.5, truth) for item in schedules])
        assert table.constant_s == pytest.approx(0.5, rel=1e-9)
        assert [table.seconds_per_execution[part] for part in PARTS] == pytest.approx(truth, rel=1e-9)
        assert table.error_max < 1e-9
        unseen = heuristic("fora:3", SHAPE)
        # Steps 0, 3, 6, 9 of four blocks: 16 executions of each component.
        assert table.predict(unseen) == pytest.approx(0.5 + 16 * 0.006, rel=1e-9)

    def test_what_a_run_of_the_transformer_takes_beside_its_components(self) -> None:
        schedules = calibration()
        seconds = [
            seconds_of(item, 0.5, (0.003, 0.001, 0.002)) + 0.01 * item.transformer_runs for item in schedules
        ]
        table = LatencyTable.fit(schedules, seconds)
        assert table.constant_s == pytest.approx(0.5, rel=1e-9)
        assert table.seconds_per_execution["transformer", "output"] == pytest.approx(0.01, rel=1e-9)
        assert table.predict(heuristic("output:0,5", SHAPE)) == pytest.approx(
            0.5 + 2 * 0.01 + 8 * 0.006, rel=1e-9
        )

    def test_a_component_that_costs_nothing(self) -> None:
        schedules = calibration()
        noise = np.random.default_rng(1).normal(1.0, 0.01, len(schedules))
        seconds = [
            seconds_of(item, 0.1, (0.01, 0.0, 0.01)) * float(factor)
            for item, factor in zip(schedules, noise, strict=True)
        ]
        table = LatencyTable.fit(schedules, seconds)
        assert min(table.constant_s, *table.seconds_per_execution.values()) >= 0.0
        assert table.seconds_per_execution[PARTS[1]] < 0.0005

    def test_leave_one_out_error_by_hand(self) -> None:
        """One schedule measured 10 % too slow: predicted from the others, which are exact, it is off by 1/11."""
        schedules = calibration()
        seconds = [seconds_of(item, 0.5, (0.003, 0.001, 0.002)) for item in schedules]
        wrong = schedules.index(heuristic("fora:2", SHAPE))
        seconds[wrong] *= 1.1
        table = LatencyTable.fit(schedules, seconds)
        assert table.error_max == pytest.approx(1.0 / 11.0, rel=1e-6)
        assert 0.0 < table.error_mean < table.error_max

    def test_leave_one_out_error_tells_the_noise(self) -> None:
        rng = np.random.default_rng(5)
        schedules = [*calibration(), *(heuristic(f"random:0.5:{seed}", SHAPE) for seed in range(30))]
        exact = [
            seconds_of(item, 0.05, (0.01, 0.004, 0.02)) + 0.05 * item.transformer_runs for item in schedules
        ]
        noisy = [value * float(rng.normal(1.0, 0.05)) for value in exact]
        table = LatencyTable.fit(schedules, noisy)
        # Where no unknown is at zero, leaving out row i misses by residual_i / (1 - H_ii), H the projection onto
        # the columns: the PRESS residuals of linear regression, without fitting again.
        design = np.array(
            [[1.0, *item.recompute_counts().values(), item.transformer_runs] for item in schedules]
        )
        rows = design / np.array(noisy)[:, None]
        projection = rows @ np.linalg.pinv(rows)
        residuals = projection @ np.ones(len(noisy)) - 1.0
        errors = np.abs(residuals / (1.0 - np.diag(projection)))
        assert table.error_mean == pytest.approx(errors.mean(), rel=1e-6)
        assert table.error_max == pytest.approx(errors.max(), rel=1e-6)
        # Hardly another schedule tells the constant apart: without it, it is extrapolated.
        assert schedules[int(errors.argmax())].name == "output:0"
        # The mean absolute value of a normal deviate is 0.8 of its standard deviation.
        assert 0.025 < table.error_mean < 0.06
        unseen = heuristic("attn:4", SHAPE)
        truth = seconds_of(unseen, 0.05, (0.01, 0.004, 0.02)) + 0.05 * 10
        assert table.predict(unseen) == pytest.approx(truth, rel=0.1)

    def test_plain_data_round_trip(self) -> None:
        schedules = calibration()
        table = LatencyTable.fit(schedules, [seconds_of(item, 0.5, (0.3, 0.1, 0.2)) for item in schedules])
        assert LatencyTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table

    def test_a_table_of_before_there_was_a_whole_output(self) -> None:
        schedules = calibration()
        table = LatencyTable.fit(schedules, [seconds_of(item, 0.5, (0.3, 0.1, 0.2)) for item in schedules])
        content = table.to_dict()
        del content["seconds_per_execution"]["transformer/output"]
        for item in schedules:
            assert LatencyTable.from_dict(content).predict(item) == pytest.approx(table.predict(item))

    @pytest.mark.parametrize(
        "changes",
        [
            {"constant_s": None},
            {"constant_s": -1.0},
            {"constant_s": float("nan")},
            {"seconds_per_execution": [1.0]},
            {"seconds_per_execution": {"transformer_blocks/ff": "fast"}},
            {"seconds_per_execution": {"transformer_blocks/ff": float("inf")}},
            {"constant_s": 0.0, "seconds_per_execution": {"transformer_blocks/ff": 0.0}},
            {"error": None},
            {"error": {"mean": 0.1}},
        ],
    )
    def test_bad_plain_data(self, changes: dict[str, Any]) -> None:
        good = {
            "constant_s": 1.0,
            "seconds_per_execution": {"transformer_blocks/ff": 1.0},
            "error": {"mean": 0.1, "max": 0.2},
        }
        LatencyTable.from_dict(good)
        with pytest.raises(ConfigError, match="not a latency table"):
            LatencyTable.from_dict({**good, **changes})

    def test_bad_measurements(self) -> None:
        schedules = calibration()
        count = len(schedules)
        with pytest.raises(ScheduleError, match="do not go with"):
            LatencyTable.fit(schedules, [1.0])
        with pytest.raises(ScheduleError, match="do not go with"):
            LatencyTable.fit([], [])
        for bad in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="positive"):
                LatencyTable.fit(schedules, [1.0] * (count - 1) + [bad])
        with pytest.raises(ScheduleError, match="do not determine"):
            LatencyTable.fit(schedules[:4], [1.0] * 4)
        with pytest.raises(ScheduleError, match="do not determine"):
            LatencyTable.fit([heuristic(f"fora:{n}", SHAPE) for n in range(1, 11)], [1.0] * 10)
        longer = Schedule.all_recompute(ScheduleShape("pixart", 11, {"transformer_blocks": 4}))
        with pytest.raises(ScheduleError, match="one shape"):
            LatencyTable.fit([*schedules, longer], [1.0] * (count + 1))

    def test_table_of_another_family(self) -> None:
        table = LatencyTable(1.0, {("other_blocks", "attn"): 1.0}, 0.0, 0.0)
        with pytest.raises(ScheduleError, match="pixart"):
            table.predict(Schedule.all_recompute(SHAPE))


class TestCalibrationSchedules:
    def test_what_is_measured(self) -> None:
        schedules = calibration()
        names = [schedule.name for schedule in schedules]
        assert names[:2] == ["all", "mask:0"]
        assert names[2:5] == [f"transformer_blocks/{name}" for name in ("attn1", "attn2", "ff")]
        assert names[-1] == "fora:2"
        assert schedules[1].recompute_fraction() == 0.1
        assert schedules[3].recompute_counts() == {PARTS[0]: 4, PARTS[1]: 40, PARTS[2]: 4}

    def test_seeded(self) -> None:
        assert calibration(1) == calibration(1)
        assert calibration(1) != calibration(2)

    @pytest.mark.parametrize("steps", [2, 3, 50])
    def test_enough_for_every_unknown_with_any_one_left_out(self, steps: int) -> None:
        shape = ScheduleShape("pixart", steps, {"transformer_blocks": 3})
        schedules = calibration_schedules(shape, np.random.default_rng(0))
        design = np.array([[1.0, *item.recompute_counts().values()] for item in schedules])
        for index in range(len(schedules)):
            assert np.linalg.matrix_rank(np.delete(design, index, axis=0)) == 4

    @pytest.mark.parametrize("holds", ["output", "denoised"])
    def test_what_they_hold_is_what_the_search_s_schedules_hold(self, holds: str) -> None:
        """It takes time of its own to hand over."""
        shape = ScheduleShape("pixart", 10, {"transformer_blocks": 3}, holds)
        found = [
            each for each in calibration_schedules(shape, np.random.default_rng(0)) if each.reuses_output
        ]
        assert [each.holds for each in found] == [holds] * 2

    def test_one_step(self) -> None:
        shape = ScheduleShape("pixart", 1, {"transformer_blocks": 3})
        with pytest.raises(ScheduleError, match="at least 2 steps"):
            calibration_schedules(shape, np.random.default_rng(0))


def test_the_fit_has_no_negative_time_and_none_for_what_never_runs() -> None:
    """A falling line through (0, 3), (1, 2), (2, 1), and a column of zeros."""
    design = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    measured = np.array([3.0, 2.0, 1.0])
    constant = (1 / measured).sum() / (1 / measured**2).sum()
    assert _relative_fit(design, measured) == pytest.approx([constant, 0.0, 0.0])
    assert _relative_fit(design, design @ [2.0, 3.0, 0.0]) == pytest.approx([2.0, 3.0, 0.0])
