"""Which steps schedules share, and the groups that share the most."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from ecad.schedule import (
    Schedule,
    ScheduleShape,
    effective,
    from_genome,
    genome_length,
    group_by_prefix,
    shared_steps,
    step_mask,
)

SHAPE = ScheduleShape("pixart", 8, {"transformer_blocks": 2})


def mask(*steps: int) -> Schedule:
    return step_mask(SHAPE, steps)


def test_shared_steps_are_those_before_the_first_difference() -> None:
    assert shared_steps(mask(0, 3, 5), mask(0, 3, 6)) == 5
    assert shared_steps(mask(0, 3, 5), mask(0, 2)) == 2
    assert shared_steps(mask(0, 3), mask(0, 3)) == 8
    assert shared_steps(mask(0, 1), mask(0)) == 1  # step 0 is recomputed by all
    # What one of them holds the other would not have.
    assert shared_steps(mask(0, 3), mask(0, 3).replace(holds="denoised")) == 0


def test_dead_compute_makes_no_difference_and_what_is_read_does() -> None:
    """In FLUX's single-stream blocks `attn` is read by `proj_out` alone."""
    shape = ScheduleShape("flux", 4, {"transformer_blocks": 1, "single_transformer_blocks": 1})
    names = ["attn", "proj_mlp", "proj_out"]

    def schedule(*ones: tuple[int, str]) -> Schedule:
        arrays = shape.filled(False)
        for array in arrays.values():
            array[0] = True
        for step, name in ones:
            arrays["single_transformer_blocks"][step, 0, names.index(name)] = True
        return Schedule("flux", arrays)

    # The new `attn` of step 1 is never read by the first; the second reads it in step 3.
    dead, read = schedule((1, "attn")), schedule((1, "attn"), (3, "proj_out"))
    assert effective(dead) == effective(schedule())
    assert shared_steps(dead, schedule()) == 4
    assert shared_steps(dead, read) == 1
    # The same components run in step 2, and the same are read.
    assert shared_steps(schedule((2, "proj_out")), schedule((2, "proj_out"), (3, "proj_out"))) == 3


def saved(schedules: list[Schedule], groups: list[list[int]]) -> int:
    """Executions saved by going through each group in its order, from the definition."""
    total = 0
    for group in groups:
        for one, other in pairwise(group):
            common = shared_steps(schedules[one], schedules[other])
            total += int(schedules[one].recompute["transformer_blocks"][:common].sum())
    return total


def test_groups_hold_everybody_once_and_save_the_most() -> None:
    rng = np.random.default_rng(3)
    base = rng.random((3, genome_length(SHAPE))) < 0.5
    genomes = []
    for number in range(7):
        genome = base[number % 3].copy()
        cut = int(rng.integers(0, len(genome)))
        genome[cut:] = rng.random(len(genome) - cut) < 0.5
        genomes.append(genome)
    schedules = [from_genome(genome, SHAPE) for genome in genomes]
    for most in (1, 2, 3, 7):
        groups = group_by_prefix(schedules, most)
        assert sorted(index for group in groups for index in group) == list(range(7))
        assert max(map(len, groups)) <= most
        assert [min(group) for group in groups] == sorted(min(group) for group in groups)
    assert group_by_prefix(schedules, 1) == [[index] for index in range(7)]
    # No other way to cut the sorted list saves more.
    [order] = group_by_prefix(schedules, 7)
    for most in (2, 3):
        cuts = [
            [order[start:end] for start, end in pairwise([0, *places, 7])]
            for count in range(7)
            for places in combinations(range(1, 7), count)
        ]
        allowed = [groups for groups in cuts if max(map(len, groups)) <= most]
        best = max(saved(schedules, groups) for groups in allowed)
        assert saved(schedules, group_by_prefix(schedules, most)) == best
        assert min(saved(schedules, groups) for groups in allowed) < best < saved(schedules, [order])


@pytest.mark.parametrize("count", [0, 1])
def test_few_schedules(count: int) -> None:
    assert group_by_prefix([mask(0)] * count, 4) == [[0]] * count


def test_all_pairs_agree_with_the_definition_by_steps() -> None:
    rng = np.random.default_rng(1)
    schedules = [from_genome(rng.random(genome_length(SHAPE)) < 0.9, SHAPE) for _ in range(6)]
    for one, other in combinations(schedules, 2):
        equal = (one.recompute["transformer_blocks"] == other.recompute["transformer_blocks"]).all(
            axis=(1, 2)
        )
        equal[0] = True
        assert shared_steps(one, other) == int(np.argmin(np.append(equal, False)))
