"""Blocks that lack a component: no bit, no gene, no digit, nothing that runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.families import BlockList, Component, Family, get_family, register, unregister
from ecad.families.family import CountedWorkload, Sizes
from ecad.measuring.latency_table import LatencyTable, calibration_schedules
from ecad.measuring.macs import schedule_macs, stored_bytes, uncached_macs
from ecad.report.heatmap import schedule_panels, step_fractions
from ecad.schedule import (
    Calibration,
    Schedule,
    ScheduleShape,
    dump_schedule,
    effective,
    from_genome,
    gene_layout,
    genome_length,
    heuristic,
    plan_execution,
    to_genome,
)
from ecad.schedule.files import parse_schedule

# attn in all of three blocks; ff, which feeds nothing, not in the last.
BLOCKS = BlockList(
    "blocks", "n", (Component("attn", "self_attention"), Component("ff", "feed_forward", missing_in=(-1,)))
)


@pytest.fixture(autouse=True)
def _family() -> Iterator[None]:
    register(Family("holes", ("HolesTransformer2DModel",), (BLOCKS,), Sizes(10)))
    yield
    unregister("holes")


@pytest.fixture
def shape() -> ScheduleShape:
    return ScheduleShape("holes", 3, {"blocks": 3})


def test_what_is_not_there_is_not_recomputed(shape: ScheduleShape) -> None:
    assert shape.present["blocks"].tolist() == [[True, True], [True, True], [True, False]]
    everything = Schedule.all_recompute(shape)
    assert everything.recompute["blocks"][:, 2, 1].tolist() == [False] * 3
    assert everything.recompute_fraction() == 1.0
    assert everything.recompute_counts() == {("blocks", "attn"): 9, ("blocks", "ff"): 6}
    assert everything.with_step(1, True, component="ff") == everything
    assert heuristic("fora:2", shape).recompute_fraction() == 10 / 15


def test_equal_schedules_are_equal_whatever_stood_in_the_holes(shape: ScheduleShape) -> None:
    arrays = shape.filled(False)
    other = {"blocks": arrays["blocks"].copy()}
    other["blocks"][:, 2, 1] = True
    assert Schedule("holes", arrays) == Schedule("holes", other)
    assert Schedule("holes", arrays).digest() == Schedule("holes", other).digest()


def test_genes_are_those_that_exist(shape: ScheduleShape) -> None:
    assert genome_length(shape) == 2 * (5 + 1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        genome = np.append(rng.random(10) < 0.5, [True, True])
        assert np.array_equal(to_genome(from_genome(genome, shape)), genome)
    layout = gene_layout(shape)
    assert layout.steps.tolist() == [1] * 5 + [2] * 5 + [1, 2]
    # Blocks 0 and 1 have both components, block 2 only the first: step 1 has the groups 0 and 1, step 2 has 2 and 3.
    assert layout.groups.tolist() == [0, 1, 0, 1, 0, 2, 3, 2, 3, 2, 4, 5]
    assert layout.next_step.tolist() == [5, 6, 7, 8, 9] + [-1] * 5 + [11, -1]
    assert layout.switch.tolist() == [10] * 5 + [11] * 5 + [10, 11]


def test_a_component_that_no_block_has() -> None:
    """One block, which is the last."""
    alone = ScheduleShape("holes", 4, {"blocks": 1})
    assert gene_layout(alone).groups.tolist() == [0, 1, 2, 3, 4, 5]
    schedules = calibration_schedules(alone, np.random.default_rng(0))
    seconds = [0.5 + 0.1 * item.recompute_counts()["blocks", "attn"] for item in schedules]
    table = LatencyTable.fit(schedules, seconds)
    assert table.predict(heuristic("mask:0,2", alone)) == pytest.approx(0.7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule_panels(heuristic("mask:0,2", alone))


def test_nothing_of_it_runs_is_read_or_kept(shape: ScheduleShape) -> None:
    for first_step in (0, 1):
        plan = plan_execution(heuristic("mask:0", shape), first_step)
        for flags in (plan.runs, plan.reads, plan.keeps):
            assert not flags["blocks"][:, 2, 1].any()
        assert plan.runs["blocks"][first_step].sum() == 5
    schedule = heuristic("random:0.5:3", shape)
    assert effective(schedule) == schedule


def test_costs_are_of_what_is_there(shape: ScheduleShape) -> None:
    parts = {("blocks", "attn"): 100, ("blocks", "ff"): 10}
    workload = CountedWorkload("holes", {"n": 3}, parts, 1, {("blocks", "attn"): 7, ("blocks", "ff"): 5})
    assert uncached_macs(3, workload) == 3 * (1 + 3 * 100 + 2 * 10)
    assert schedule_macs(Schedule.all_recompute(shape), workload) == uncached_macs(3, workload)
    assert stored_bytes(heuristic("mask:0", shape), workload, 2).tolist() == [2 * (3 * 7 + 2 * 5)] * 2 + [0]


def test_files_show_the_holes(shape: ScheduleShape) -> None:
    schedule = heuristic("fora:2", shape)
    text = dump_schedule(schedule)
    assert '- "11-"  # step 0' in text
    assert '- "00-"  # step 1' in text
    assert parse_schedule(text, "x.yaml") == schedule


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ("111", r"step 0 of ff: '111' must be like '..-', with 0 or 1 for each dot"),
        ("1--", r"step 0 of ff: '1--' must be like '..-'"),
        ("1", "step 0 of ff has 1 digits, but there are 3 blocks"),
    ],
)
def test_a_digit_where_nothing_is_is_a_mistake(shape: ScheduleShape, digits: str, message: str) -> None:
    text = dump_schedule(heuristic("fora:2", shape)).replace('"11-"  # step 0', f'"{digits}"  # step 0')
    with pytest.raises(ScheduleError, match=f"x.yaml, line .*: {message}"):
        parse_schedule(text, "x.yaml")


def test_a_dash_elsewhere_is_a_mistake() -> None:
    schedule = heuristic("fora:2", ScheduleShape("pixart", 2, {"transformer_blocks": 2}))
    with pytest.raises(ScheduleError, match="the digits are 0 or 1, not '-'"):
        parse_schedule(dump_schedule(schedule).replace('"11"  # step 0', '"1-"  # step 0', 1), "x.yaml")


def test_the_picture_leaves_them_out(shape: ScheduleShape) -> None:
    import io

    from rich.console import Console

    schedule = heuristic("fora:2", shape)
    assert step_fractions(schedule) == [1.0, 0.0, 1.0]
    file = io.StringIO()
    Console(file=file, width=100).print(schedule_panels(schedule))
    lines = file.getvalue().splitlines()
    assert "ff: 66.7" in lines[0]
    assert "0 ████   " in lines[2]  # two characters a block, the third one empty


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numbers_of_numpy_are_numbers(kind: Any) -> None:
    shape = ScheduleShape("pixart", kind(9), {"transformer_blocks": kind(2)})
    assert shape == ScheduleShape("pixart", 9, {"transformer_blocks": 2})
    assert (type(shape.steps), type(shape.blocks["transformer_blocks"])) == (int, int)
    assert heuristic("fora:2", shape).resample(kind(5)).steps == 5


@pytest.mark.parametrize("wrong", [9.0, np.float32(9.0), True, np.bool_(True), "9", None])
def test_what_is_no_number_of_steps_or_blocks(wrong: Any) -> None:
    with pytest.raises(ScheduleError, match="1 to 1000 steps, not"):
        ScheduleShape("pixart", wrong, {"transformer_blocks": 2})
    with pytest.raises(ScheduleError, match="1 to 1000 blocks, not"):
        ScheduleShape("pixart", 9, {"transformer_blocks": wrong})
    with pytest.raises(ScheduleError, match="1 to 1000 steps, not"):
        heuristic("fora:2", ScheduleShape("pixart", 9, {"transformer_blocks": 2})).resample(wrong)


class TestOptionalLists:
    """Stable Diffusion 3's second attention, which most of its models do not have."""

    def test_none_is_no_blocks(self) -> None:
        without = ScheduleShape("sd3", 3, {"transformer_blocks": 2})
        assert dict(without.blocks) == {"transformer_blocks": 2, "dual_attention_blocks": 0}
        assert without == ScheduleShape("sd3", 3, {"transformer_blocks": 2, "dual_attention_blocks": 0})
        assert without.present["dual_attention_blocks"].shape == (0, 1)
        assert without.describe() == "sd3, 3 steps, 2 transformer_blocks"
        with pytest.raises(ScheduleError, match="'transformer_blocks' needs 1 to 1000 blocks, not 0"):
            ScheduleShape("sd3", 3, {"transformer_blocks": 0})
        # Genes: two steps of attn, ff, attn, ff and one ff_context, and of the whole output.
        assert genome_length(without) == 2 * (3 + 2 + 1)
        assert genome_length(ScheduleShape("sd3", 3, {**without.blocks, "dual_attention_blocks": 1})) == 14

    def test_files_name_them_where_they_are(self) -> None:
        for blocks in (0, 2):
            shape = ScheduleShape("sd3", 3, {"transformer_blocks": 2, "dual_attention_blocks": blocks})
            schedule = heuristic("fora:2", shape)
            text = dump_schedule(schedule)
            assert ("dual_attention_blocks" in text) == bool(blocks)
            assert parse_schedule(text, "the test") == schedule
            layout = gene_layout(shape)
            assert len(layout.steps) == genome_length(shape)
            assert from_genome(to_genome(schedule), shape) == schedule

    def test_their_number_is_a_list_in_the_config(self) -> None:
        family = get_family("sd3")
        for value, count in ((None, 0), ((), 0), ([0, 1, 2], 3)):
            config: dict[str, Any] = {"num_layers": 24, "dual_attention_layers": value}
            assert family.block_counts(config)["dual_attention_blocks"] == count
        assert family.block_counts({"num_layers": 24})["dual_attention_blocks"] == 0

    def test_tables_and_pictures_do_without_them(self) -> None:
        shape = ScheduleShape("sd3", 3, {"transformer_blocks": 2})
        names = [schedule.name for schedule in calibration_schedules(shape, np.random.default_rng(0))]
        assert not [name for name in names if name.startswith("dual_attention_blocks")]
        schedule = heuristic("fora:2", shape)
        assert len(schedule_panels(schedule).renderables) == 3
        assert step_fractions(schedule) == [1.0, 0.0, 1.0]
        calibration = Calibration(
            shape,
            {name: np.ones((3, *size)) for name, size in shape.array_shapes().items()},
            np.ones((3, 3)),
            {},
        )
        again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())), "the test")
        assert again.components["dual_attention_blocks"].shape == (3, 3, 0, 1)
        assert again.errors_of(schedule).shape == (3, 1 + 3 + 1)
