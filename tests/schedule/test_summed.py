"""Which stretches of reused blocks are read as sums."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.families import find_model
from ecad.families.workload import workload_for
from ecad.measuring.macs import stored_bytes
from ecad.schedule import ScheduleShape, heuristic, plan_execution
from ecad.schedule.liveness import feeds_of, stretches_after_step
from ecad.schedule.summed import Stretch, stretches

SHAPE = ScheduleShape("pixart", 20, {"transformer_blocks": 28})


def test_whole_reused_steps_are_one_stretch_each_time() -> None:
    plan = plan_execution(heuristic("mask:0,4,8,12,16", SHAPE), summed_runs=True)
    expected = {
        Stretch("transformer_blocks", 0, 27, tuple(range(start + 1, start + 4)))
        for start in (0, 4, 8, 12, 16)
    }
    assert set(plan.stretches) == expected
    assert not any(flags.any() for flags in plan.keeps.values())
    assert stretches_after_step(heuristic("mask:0,4,8,12,16", SHAPE)).tolist() == [1, 1, 1, 0] * 5


def test_what_is_read_once_or_twice_is_not_summed() -> None:
    for name in ("fora:2", "fora:3", "all"):
        assert plan_execution(heuristic(name, SHAPE), summed_runs=True).stretches == ()
    small = ScheduleShape("pixart", 20, {"transformer_blocks": 2})
    assert plan_execution(heuristic("mask:0", small), summed_runs=True).stretches == ()
    flux = ScheduleShape("flux", 20, {"transformer_blocks": 19, "single_transformer_blocks": 38})
    assert plan_execution(heuristic("mask:0", flux), summed_runs=True).stretches == ()


def test_steps_without_the_transformer_read_nothing_and_change_nothing() -> None:
    schedule = heuristic("mask:0,8", SHAPE)
    output = np.ones(20, dtype=np.bool_)
    output[[2, 3, 10]] = False
    plan = plan_execution(schedule.replace(recompute_output=output), summed_runs=True)
    assert {stretch.reads for stretch in plan.stretches} == {
        (1, 4, 5, 6, 7),
        (9, 11, 12, 13, 14, 15, 16, 17, 18, 19),
    }


@pytest.mark.parametrize("seed", range(6))
def test_stretches_do_not_overlap_and_hold_what_they_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    schedule = heuristic("mask:0", SHAPE)
    arrays = {name: array.copy() for name, array in schedule.recompute.items()}
    # Few recomputations, so that there are stretches of all shapes.
    arrays["transformer_blocks"][1:] = rng.random((19, 28, 3)) < 0.02
    schedule = schedule.replace(recompute=arrays)
    alone, plan = plan_execution(schedule), plan_execution(schedule, summed_runs=True)
    computed = alone.runs["transformer_blocks"].any(axis=2)
    covered = np.zeros((20, 28), dtype=np.int64)
    assert plan.stretches
    for stretch in plan.stretches:
        reads = np.array(stretch.reads)
        covered[np.ix_(reads, stretch.blocks)] += 1
        number = len(stretch.blocks)
        assert len(reads) * (18 * number - 36) > 50 * number
        assert not computed[reads[0] : reads[-1] + 1][:, list(stretch.blocks)].any()
        assert len(set(feeds_of(plan, stretch))) == 3 * number
    assert covered.max() == 1
    # What runs is the same; what is read one by one is all that is not summed.
    assert np.array_equal(plan.runs["transformer_blocks"], alone.runs["transformer_blocks"])
    assert np.array_equal(plan.reads["transformer_blocks"], (covered == 0)[:, :, None].repeat(3, axis=2))
    assert plan.keeps["transformer_blocks"].sum() < alone.keeps["transformer_blocks"].sum()


def test_the_most_profitable_comes_first() -> None:
    quiet = np.ones((10, 12), dtype=np.bool_)
    quiet[0] = False
    quiet[5, 3] = False
    found = stretches("blocks", quiet, np.ones(10, dtype=np.bool_))
    assert found[0] == Stretch("blocks", 4, 11, tuple(range(1, 10)))
    assert Stretch("blocks", 0, 3, (1, 2, 3, 4)) not in found  # 4 x (72 - 36) < 50 x 4


def test_stored_bytes_of_full_size_models() -> None:
    """84 outputs become three sums, twice as wide."""
    workload = workload_for(find_model("pixart-alpha"))
    schedule = heuristic("mask:0,4,8,12,16", SHAPE)
    output = 2 * 256 * 1152  # numbers, of both rows
    assert stored_bytes(schedule, workload, 2).max() == 84 * output * 2
    assert stored_bytes(schedule, workload, 2, summed_runs=True).max() == 3 * output * 4
    assert stored_bytes(heuristic("fora:2", SHAPE), workload, 2, summed_runs=True).max() == 84 * output * 2
