"""Which components a schedule really runs, reads and keeps: small cases by hand, large ones against a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from ecad.errors import ModelError, ScheduleError
from ecad.families import BlockList, Component
from ecad.schedule import (
    Schedule,
    ScheduleShape,
    effective,
    from_genome,
    genome_length,
    heuristic,
    plan_execution,
    stored_after_step,
)
from ecad.schedule.liveness import WHOLE_OUTPUT

SINGLE = "single_transformer_blocks"
SHAPE = ScheduleShape("flux", 7, {"transformer_blocks": 2, SINGLE: 2})


def single_stream(attn: str, proj_mlp: str, proj_out: str) -> Schedule:
    """A schedule of FLUX from one string per component, "x" recompute and "." reuse, one character a step."""
    columns = [[letter == "x" for letter in text] for text in (attn, proj_mlp, proj_out)]
    single = np.repeat(np.array(columns).T[:, None, :], 2, axis=1)
    return Schedule("flux", {"transformer_blocks": np.ones((7, 2, 3), dtype=bool), SINGLE: single})


def drawn(array: np.ndarray) -> list[str]:
    """Inverse of `single_stream` for one of its equal blocks; shape (7, 2, 3)."""
    assert np.array_equal(array[:, 0], array[:, 1])
    return ["".join("x" if value else "." for value in array[:, 0, index]) for index in range(3)]


@pytest.mark.parametrize(
    ("flagged", "runs", "keeps"),
    [
        # Everything is read at once.
        (["xxxxxxx"] * 3, ["xxxxxxx"] * 3, ["......."] * 3),
        # proj_out never runs again: nor does anything that feeds it.
        (["xxxxxxx", "xxxxxxx", "x......"], ["x......"] * 3, [".......", ".......", "xxxxxx."]),
        # attn: 2 is overwritten unread, 3 is read at 4, 5 is never read. proj_mlp: 1 is read at 4.
        (
            ["x.xx.x.", "xx.....", "x...x.."],
            ["x..x...", "xx.....", "x...x.."],
            ["...x...", ".xxx...", "xxx.xx."],
        ),
        # The value of step 0 is read at step 0 and again at 3: kept till then, though proj_out is reused between.
        (
            ["x......", "x...x..", "x..x..x"],
            ["x......", "x...x..", "x..x..x"],
            ["xxxxxx.", "xxx.xx.", "xx.xx.."],
        ),
        # Steps 3 and 6 of attn are read in the very step; 1 is not, nor kept.
        (
            ["xx.x..x", "xx.x..x", "x..x..x"],
            ["x..x..x", "x..x..x", "x..x..x"],
            [".......", ".......", "xx.xx.."],
        ),
    ],
)
def test_by_hand(flagged: list[str], runs: list[str], keeps: list[str]) -> None:
    schedule = single_stream(*flagged)
    plan = plan_execution(schedule)
    assert drawn(plan.runs[SINGLE]) == runs
    assert drawn(plan.keeps[SINGLE]) == keeps
    assert drawn(plan.reads[SINGLE]) == [runs[2], runs[2], "xxxxxxx"]
    assert drawn(effective(schedule).recompute[SINGLE]) == runs
    assert plan.runs["transformer_blocks"].all()
    counts = stored_after_step(schedule)
    assert list(counts) == [
        *(("transformer_blocks", name) for name in ("attn", "ff", "ff_context")),
        *((SINGLE, name) for name in ("attn", "proj_mlp", "proj_out")),
        WHOLE_OUTPUT,
    ]
    assert counts[WHOLE_OUTPUT].tolist() == [0] * 7
    for name, expected in zip(("attn", "proj_mlp", "proj_out"), keeps, strict=True):
        assert counts[SINGLE, name].tolist() == [2 * (letter == "x") for letter in expected]


def test_a_call_that_starts_in_the_middle() -> None:
    """The recompute at step 2 replaces what step 1 would have left for steps 3 and 5."""
    plan = plan_execution(single_stream("xx....x", "x..x..x", "xx.x.x."), first_step=2)
    assert drawn(plan.runs[SINGLE]) == ["..x....", "..xx...", "..xx.x."]
    assert drawn(plan.keeps[SINGLE]) == ["..xxx..", "...xx..", "...x.x."]
    assert drawn(plan.reads[SINGLE]) == ["..xx.x.", "..xx.x.", "..xxxxx"]
    for wrong in (-1, 7):
        with pytest.raises(ScheduleError, match=f"first step {wrong} is outside .* 0 to 6"):
            plan_execution(heuristic("all", SHAPE), wrong)


def test_the_whole_output_by_hand() -> None:
    """Steps 0, 2 and 5 run; what they leave is read until the next one, through the steps in which nothing runs."""
    every = single_stream("xxxxxxx", "xxxxxxx", "x....xx")
    schedule = every.replace(recompute_output=np.array([1, 0, 1, 0, 0, 1, 0], dtype=bool))
    assert drawn(schedule.recompute[SINGLE]) == ["x.x..x.", "x.x..x.", "x....x."]
    plan = plan_execution(schedule)
    assert plan.runs_output.tolist() == [True, False, True, False, False, True, False]
    assert plan.keeps_output.tolist() == [True, False, True, True, False, True, False]
    # At step 2 proj_out is reused, and so nobody reads the others.
    assert drawn(plan.runs[SINGLE]) == ["x....x.", "x....x.", "x....x."]
    assert drawn(plan.reads[SINGLE]) == ["x....x.", "x....x.", "x.x..x."]
    assert drawn(plan.keeps[SINGLE]) == [".......", ".......", "xx....."]
    assert plan.runs["transformer_blocks"].any(axis=(1, 2)).tolist() == [
        True,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert stored_after_step(schedule)[WHOLE_OUTPUT].tolist() == [1, 0, 1, 1, 0, 1, 0]
    late = plan_execution(schedule, first_step=3)  # nothing is stored yet: it runs
    assert late.runs_output.tolist() == [False, False, False, True, False, True, False]
    assert late.keeps_output.tolist() == [False, False, False, True, False, True, False]


def simulated(schedule: Schedule, first_step: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(runs, keeps) found by computing everything that is flagged, and noting when each value is last read."""
    runs, keeps = schedule.shape.filled(False), schedule.shape.filled(False)
    for name, (steps, blocks, components) in schedule.shape.array_shapes().items():
        flagged = schedule.recompute[name].copy()
        flagged[first_step] = True
        for block in range(blocks):
            newest = [0] * components  # the step that computed the newest value
            last_read: dict[tuple[int, int], int] = {}
            for step in range(first_step, steps):
                for component in range(components):
                    if flagged[step, block, component]:
                        newest[component] = step
                for component in range(components):
                    feeds_proj_out = name == SINGLE and component < 2
                    if not feeds_proj_out or flagged[step, block, 2]:
                        last_read[component, newest[component]] = step
            for (component, step), last in last_read.items():
                runs[name][step, block, component] = True
                keeps[name][step:last, block, component] = True
    return runs, keeps


@pytest.mark.parametrize("first_step", [0, 1, 4, 9])
@pytest.mark.parametrize("family", ["flux", "pixart"])
def test_random_schedules_against_a_simulation(family: str, first_step: int) -> None:
    blocks = {"transformer_blocks": 5, SINGLE: 12} if family == "flux" else {"transformer_blocks": 5}
    shape = ScheduleShape(family, 10, blocks)
    for probability in (0.0, 0.2, 0.5, 0.9):
        schedule = heuristic(f"random:{probability}:3", shape)
        runs, keeps = simulated(schedule, first_step)
        plan = plan_execution(schedule, first_step)
        again = plan_execution(effective(schedule), first_step)
        for name in blocks:
            assert np.array_equal(plan.runs[name], runs[name])
            assert np.array_equal(plan.keeps[name], keeps[name])
            assert not plan.keeps[name][-1].any()
            # A schedule and its effective one make a model do the same, wherever a call enters them.
            assert np.array_equal(again.runs[name], runs[name])
            assert np.array_equal(again.keeps[name], keeps[name])


def test_effective_schedules_find_duplicates() -> None:
    one = single_stream("x.xxx.x", "x..x...", "x..x...").replace(name="one", provenance={"run": "r"})
    two = single_stream("xxxx...", "xx.xxxx", "x..x...")
    assert one != two
    assert one.digest() != two.digest()
    assert effective(one) == effective(two)
    assert effective(one).digest() == effective(two).digest()
    assert effective(effective(one)) == effective(one)
    assert (effective(one).name, dict(effective(one).provenance)) == ("one", {"run": "r"})
    # At step 0 everything is read, so the effective schedule keeps the promise of every schedule.
    assert all(array[0].all() for array in effective(heuristic("mask:0", SHAPE)).recompute.values())


def test_nothing_is_dead_without_feeders() -> None:
    shape = ScheduleShape("pixart", 5, {"transformer_blocks": 2})
    genome = np.random.default_rng(0).random(genome_length(shape)) < 0.5
    schedule = from_genome(genome, shape)
    assert effective(schedule) == schedule


def test_a_feeder_must_come_before_what_it_feeds() -> None:
    with pytest.raises(ModelError, match=r"'a' must come before the component it feeds \('b'\)"):
        BlockList("blocks", "n", (Component("b", "projection"), Component("a", "projection", feeds="b")))
