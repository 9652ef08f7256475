"""The schedule array: immutable, step 0 recomputes, every wrong shape is named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecad
from ecad.errors import ModelError, ScheduleError
from ecad.schedule import (
    Schedule,
    ScheduleShape,
    from_genome,
    genome_from_hex,
    genome_length,
    genome_to_hex,
    heuristic,
    is_heuristic,
    load_schedule,
    save_schedule,
    to_genome,
)

SHAPE = ScheduleShape("pixart", 5, {"transformer_blocks": 2})


def make(array: np.ndarray) -> Schedule:
    return Schedule("pixart", {"transformer_blocks": array})


def test_step_0_always_recomputes() -> None:
    schedule = make(np.zeros((5, 2, 3), dtype=bool))
    assert schedule.recompute["transformer_blocks"][0].all()
    assert not schedule.recompute["transformer_blocks"][1:].any()
    assert schedule.recompute_fraction() == pytest.approx(0.2)
    assert schedule.recompute_counts() == {
        ("transformer_blocks", "attn1"): 2,
        ("transformer_blocks", "attn2"): 2,
        ("transformer_blocks", "ff"): 2,
    }


def test_immutable() -> None:
    array = np.ones((5, 2, 3), dtype=bool)
    schedule = make(array)
    array[:] = False  # what was given is copied
    assert schedule.recompute_fraction() == 1.0
    with pytest.raises(ValueError, match="read-only"):
        schedule.recompute["transformer_blocks"][1, 0, 0] = False
    with pytest.raises(TypeError):
        schedule.recompute["transformer_blocks"] = array  # type: ignore[index]
    with pytest.raises(AttributeError):
        schedule.name = "x"  # type: ignore[misc]


def test_with_step_returns_a_new_one() -> None:
    schedule = heuristic("all", SHAPE)
    changed = schedule.with_step(2, False, component="ff")
    assert schedule.recompute_fraction() == 1.0
    array = changed.recompute["transformer_blocks"]
    assert array[2].tolist() == [[True, True, False]] * 2
    assert array.sum() == 28
    assert schedule.with_step(0, False) == schedule  # step 0 stays
    with pytest.raises(ScheduleError, match="step 5 is outside"):
        schedule.with_step(5, True)
    with pytest.raises(ScheduleError, match="no component 'mlp'"):
        schedule.with_step(1, True, component="mlp")
    with pytest.raises(ScheduleError, match="no block list 'blocks'"):
        schedule.with_step(1, True, block_list="blocks")
    # To recompute something, the transformer must run in that step.
    skipping = heuristic("output:0,3", SHAPE)
    woken = skipping.with_step(2, True, component="ff")
    assert woken.recompute_output.tolist() == [True, False, True, True, False]
    assert woken.recompute_counts()["transformer_blocks", "ff"] == 6
    assert skipping.with_step(3, False).recompute_output.tolist() == [True, False, False, True, False]


def test_the_whole_output() -> None:
    runs = np.array([0, 1, 0, 0, 1], dtype=bool)
    schedule = heuristic("all", SHAPE).replace(recompute_output=runs)
    assert schedule.recompute_output.tolist() == [True, True, False, False, True]  # step 0 always runs
    assert (schedule.reuses_output, schedule.transformer_runs) == (True, 3)
    assert schedule.recompute["transformer_blocks"].any(axis=(1, 2)).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert schedule == heuristic("output:0,1,4", SHAPE)
    components = heuristic("mask:0,1,4", SHAPE)
    assert (components.reuses_output, components.transformer_runs) == (False, 5)
    assert np.array_equal(
        components.recompute["transformer_blocks"], schedule.recompute["transformer_blocks"]
    )
    assert components != schedule
    assert components.digest() != schedule.digest()
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    runs[:] = True  # what was given is copied
    assert schedule.transformer_runs == 3
    with pytest.raises(ValueError, match="read-only"):
        schedule.recompute_output[2] = True
    with pytest.raises(ScheduleError, match=r"whole output.*\(5 steps,\), got the shape \(4,\)"):
        schedule.replace(recompute_output=np.ones(4, dtype=bool))


def test_what_is_held() -> None:
    """Schedules differ by it where they reuse the whole output, and only there."""
    output, denoised = heuristic("output:0,1,4", SHAPE), heuristic("denoised:0,1,4", SHAPE)
    assert (output.holds, denoised.holds) == ("output", "denoised")
    assert np.array_equal(output.recompute_output, denoised.recompute_output)
    assert output != denoised
    assert output.digest() != denoised.digest()
    assert denoised.shape == SHAPE  # both fit the same models
    for other in (
        pickle.loads(pickle.dumps(denoised)),
        denoised.resample(7).resample(5),
        denoised.replace(name="x"),
    ):
        assert other.holds == "denoised"
    mask = heuristic("mask:0,2", SHAPE)
    assert mask.replace(holds="denoised") == mask
    assert mask.replace(holds="denoised").digest() == mask.digest()
    with pytest.raises(ScheduleError, match="holds 'output' or 'denoised', not 'x'"):
        mask.replace(holds="x")


def test_genomes_are_of_schedules_that_hold_what_the_shape_says() -> None:
    shape = ScheduleShape(SHAPE.family, SHAPE.steps, SHAPE.blocks, "denoised")
    denoised = heuristic("denoised:0,2", shape)
    assert from_genome(to_genome(denoised), shape) == denoised
    assert from_genome(to_genome(denoised), SHAPE) == heuristic("output:0,2", shape)  # which says so itself
    assert pickle.loads(pickle.dumps(shape)).holds == "denoised"


def test_equality_and_digest_ignore_metadata() -> None:
    one, two = heuristic("fora:2", SHAPE), heuristic("mask:0,2,4", SHAPE).replace(provenance={"run": "x"})
    assert one == two
    assert hash(one) == hash(two)
    assert one.digest() == two.digest() != heuristic("fora:3", SHAPE).digest()
    assert one != heuristic("fora:2", ScheduleShape("pixart", 6, {"transformer_blocks": 2}))


def test_wrong_arrays_are_named() -> None:
    with pytest.raises(ScheduleError, match=r"3 components.*got the shape \(5, 2, 4\)"):
        make(np.ones((5, 2, 4), dtype=bool))
    with pytest.raises(ScheduleError, match="at least one step"):
        make(np.ones((0, 2, 3), dtype=bool))
    with pytest.raises(ScheduleError, match="1 to 1000 blocks, not 0"):
        make(np.ones((5, 0, 3), dtype=bool))
    with pytest.raises(ScheduleError, match="block lists"):
        Schedule("pixart", {"blocks": np.ones((5, 2, 3), dtype=bool)})
    with pytest.raises(ModelError, match="unknown model family 'unet'"):
        Schedule("unet", {})
    with pytest.raises(ScheduleError, match="1 to 1000 steps, not 0"):
        ScheduleShape("pixart", 0, {"transformer_blocks": 2})


# --- genomes ---


def test_genomes_leave_out_step_0_and_round_trip() -> None:
    assert genome_length(SHAPE) == 4 * 2 * 3 + 4
    genome = np.append(np.arange(24) % 5 == 0, [True] * 4)
    schedule = from_genome(genome, SHAPE)
    assert np.array_equal(to_genome(schedule), genome)
    # Gene 5 is step 1, block 1, component 2.
    assert schedule.recompute["transformer_blocks"][1, 1, 2]
    assert not schedule.recompute["transformer_blocks"][1, 1, 1]
    with pytest.raises(ScheduleError, match="28 genes"):
        from_genome(genome[:-1], SHAPE)
    # Gene 25 is the whole output of step 2: without it no other gene of that step is read.
    genome[25] = False
    schedule = from_genome(genome, SHAPE)
    assert schedule.recompute_output.tolist() == [True, True, False, True, True]
    assert not schedule.recompute["transformer_blocks"][2].any()
    read = to_genome(schedule)
    assert not read[6:12].any()
    assert np.array_equal(np.delete(read, range(6, 12)), np.delete(genome, range(6, 12)))
    assert from_genome(read, SHAPE) == schedule


def test_hexadecimal_genomes() -> None:
    genome = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert genome_to_hex(genome) == "a0c0"
    assert np.array_equal(genome_from_hex("a0c0", 10), genome)
    with pytest.raises(ScheduleError, match="not a hexadecimal genome"):
        genome_from_hex("xyz", 10)
    with pytest.raises(ScheduleError, match="has 2 bytes, got 1"):
        genome_from_hex("a0", 10)


# --- heuristics ---

EXPECTED = {  # name -> steps at which (attn1, attn2, ff) recompute, of 5
    "all": ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    "fora:1": ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    "fora:2": ([0, 2, 4], [0, 2, 4], [0, 2, 4]),
    "fora:5": ([0], [0], [0]),
    "attn:3": ([0, 3], [0, 3], [0, 1, 2, 3, 4]),
    "tgate:2": ([0, 1, 2, 3, 4], [0, 1], [0, 1, 2, 3, 4]),
    "mask:3": ([0, 3], [0, 3], [0, 3]),
    "mask:0,1,4": ([0, 1, 4], [0, 1, 4], [0, 1, 4]),
    "random:1": ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    "random:0": ([0], [0], [0]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_heuristics_by_hand(name: str) -> None:
    array = heuristic(name, SHAPE).recompute["transformer_blocks"]
    for component, steps in enumerate(EXPECTED[name]):
        for block in range(2):
            assert np.flatnonzero(array[:, block, component]).tolist() == steps


def test_random_heuristics_are_seeded() -> None:
    shape = ScheduleShape("pixart", 20, {"transformer_blocks": 28})
    assert heuristic("random:0.3", shape) == heuristic("random:0.3:0", shape)
    assert heuristic("random:0.3:1", shape) != heuristic("random:0.3:2", shape)
    assert heuristic("random:0.3", shape).recompute["transformer_blocks"][1:].mean() == pytest.approx(
        0.3, abs=0.03
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fora", "expected a whole number, got ''"),
        ("fora:0", "0 is outside 1 to 5"),
        ("fora:6", "6 is outside 1 to 5"),
        ("tgate:x", "got 'x'"),
        ("random:1.5", "probability from 0 to 1"),
        ("random:0.5:-1", "-1 is outside"),
        ("mask:0,9", "9 is outside 0 to 4"),
        ("all:2", "takes no argument"),
        ("teacache:2", "unknown heuristic 'teacache:2'.*fora:N"),
    ],
)
def test_wrong_heuristics_are_named(name: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        heuristic(name, SHAPE)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("steps:0,1,2,6,12", "0,1,2,6,12"),
        ("steps:12", "0,6,8,..."),
        ("steps:", "0,6,8,..."),
        ("steps:0,x", "0,6,8,..."),
    ],
)
def test_fewer_steps_are_no_schedule(name: str, numbers: str, tiny_pipe: Any) -> None:
    """The same line wherever a schedule is expected; `ecad evaluate` looks for it first."""
    expected = (
        f"'{name}' is the untouched model with fewer steps and not a schedule: ecad evaluate takes it as a row; the "
        f"nearest schedule is output:{numbers} (or denoised:{numbers})"
    )
    for take in (
        lambda: heuristic(name, SHAPE),
        lambda: is_heuristic(name),
        lambda: load_schedule(name),
        lambda: ecad.apply(tiny_pipe, name),
    ):
        with pytest.raises(ScheduleError) as caught:
            take()
        assert str(caught.value) == expected


def test_a_file_may_be_called_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    schedule = heuristic("fora:2", SHAPE)
    save_schedule(schedule, Path("steps"))
    assert load_schedule("steps") == schedule
    assert not is_heuristic("steps")


# --- heuristics on two block lists ---

FLUX_SHAPE = ScheduleShape("flux", 5, {"transformer_blocks": 2, "single_transformer_blocks": 3})
EVERY, THIRD = [0, 1, 2, 3, 4], [0, 3]
FLUX_EXPECTED = {  # steps of 5 for (attn, ff, ff_context) and for (attn, proj_mlp, proj_out)
    "fora:3": ([THIRD] * 3, [THIRD] * 3),
    "attn:3": ([THIRD, EVERY, EVERY], [THIRD, EVERY, EVERY]),
    "mask:0,4": ([[0, 4]] * 3, [[0, 4]] * 3),
    "random:0": ([[0]] * 3, [[0]] * 3),
    "all": ([EVERY] * 3, [EVERY] * 3),
}


@pytest.mark.parametrize("name", FLUX_EXPECTED)
def test_heuristics_on_flux_by_hand(name: str) -> None:
    schedule = heuristic(name, FLUX_SHAPE)
    for array, expected in zip(schedule.recompute.values(), FLUX_EXPECTED[name], strict=True):
        for component, steps in enumerate(expected):
            for block in range(array.shape[1]):
                assert np.flatnonzero(array[:, block, component]).tolist() == steps


def test_random_heuristics_draw_each_block_list_on_its_own() -> None:
    double, single = heuristic("random:0.5:1", FLUX_SHAPE).recompute.values()
    assert 0 < double[1:].mean() < 1
    assert 0 < single[1:].mean() < 1
    assert not np.array_equal(double, single[:, :2])


def test_tgate_needs_cross_attention() -> None:
    with pytest.raises(
        ScheduleError, match="'tgate:2' does not fit family 'flux': it has no cross_attention"
    ):
        heuristic("tgate:2", FLUX_SHAPE)


def test_genomes_of_two_block_lists() -> None:
    assert genome_length(FLUX_SHAPE) == 4 * ((2 + 3) * 3 + 1)
    schedule = heuristic("random:0.4:7", FLUX_SHAPE)
    assert from_genome(to_genome(schedule), FLUX_SHAPE) == schedule
    genome = np.append(np.zeros(60, dtype=bool), [True] * 4)
    genome[24 + 9 + 3 + 2] = True  # after the first list: step 2, block 1, component 2
    array = from_genome(genome, FLUX_SHAPE).recompute["single_transformer_blocks"]
    assert np.argwhere(array[1:]).tolist() == [[1, 1, 2]]


def test_a_missing_block_list_is_named() -> None:
    with pytest.raises(
        ScheduleError, match=r"\['transformer_blocks', 'single_transformer_blocks'\].*the schedule has"
    ):
        Schedule("flux", {"transformer_blocks": np.ones((5, 2, 3), dtype=bool)})
    with pytest.raises(ScheduleError, match=r"'single_transformer_blocks'\], not \['transformer_blocks'\]"):
        ScheduleShape("flux", 5, {"transformer_blocks": 2})
