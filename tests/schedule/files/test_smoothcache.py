"""SmoothCache's JSON: one mask per component, there and back, and one line for every mistake."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.families import FAMILIES, get_family
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.files import parse_schedule
from ecad.schedule.files.smoothcache import dump_smoothcache, is_smoothcache, parse_smoothcache
from ecad.schedule.files.steps_mask import steps_mask

PIXART = ScheduleShape("pixart", 4, {"transformer_blocks": 3})
FLUX = ScheduleShape("flux", 4, {"transformer_blocks": 2, "single_transformer_blocks": 3})
SD3 = ScheduleShape("sd3", 4, {"transformer_blocks": 2})


def read(content: Any, shape: ScheduleShape = PIXART) -> Schedule:
    return parse_smoothcache(json.dumps(content), shape, "file.json")


def test_by_hand() -> None:
    schedule = read({"attn1": [1, 0, 1, 0], "ff": [1, 0, 0, 1]})
    assert schedule.shape == PIXART
    for block in range(3):
        recompute = schedule.recompute["transformer_blocks"][:, block].T.astype(int).tolist()
        assert recompute == [[1, 0, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]]  # attn2 is not named: always computed
    assert json.loads(dump_smoothcache(schedule)) == {
        "attn1": [1, 0, 1, 0],
        "attn2": [1, 1, 1, 1],
        "ff": [1, 0, 0, 1],
    }


def test_the_number_of_steps_is_that_of_the_masks() -> None:
    assert read({"attn1": [1, 0] * 25}).steps == 50


@pytest.mark.parametrize(
    ("word", "shape", "components"),
    [
        ("attn", PIXART, {"attn1"}),  # self-attention; cross-attention has a word of its own
        ("cross_attn", PIXART, {"attn2"}),
        ("mlp", PIXART, {"ff"}),
        ("attn", FLUX, {"attn"}),  # a component of that name, in both block lists
        ("ff", FLUX, {"ff"}),
        ("mlp", FLUX, {"ff", "ff_context"}),
    ],
)
def test_words_of_its_own_files(word: str, shape: ScheduleShape, components: set[str]) -> None:
    masks = json.loads(dump_smoothcache(read({word: [1, 0, 0, 0]}, shape)))
    assert {name for name, mask in masks.items() if mask == [1, 0, 0, 0]} == components
    assert {tuple(mask) for name, mask in masks.items() if name not in components} == {(1, 1, 1, 1)}


@pytest.mark.parametrize("shape", [PIXART, FLUX, SD3], ids=lambda shape: shape.family)
@pytest.mark.parametrize("seed", range(5))
def test_round_trip(shape: ScheduleShape, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks: dict[str, Any] = {}
    arrays = shape.filled(False)
    for block_list in shape.spec.block_lists:
        for index, name in enumerate(block_list.component_names):
            mask = masks.setdefault(name, rng.random(shape.steps) < 0.5)
            arrays[block_list.name][:, :, index] = mask[:, None]
    schedule = Schedule(shape.family, arrays)
    text = dump_smoothcache(schedule)
    assert is_smoothcache(text)
    assert parse_smoothcache(text, shape, "x") == schedule
    assert dump_smoothcache(parse_smoothcache(text, shape, "x")) == text


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("blocks", [1, 3])
def test_every_family(family: str, blocks: int) -> None:
    """Also where one block list lacks a component, or with so few blocks that none has it."""
    shape = ScheduleShape(family, 4, dict.fromkeys(get_family(family).block_list_names, blocks))
    schedule = heuristic("fora:3", shape)
    assert parse_smoothcache(dump_smoothcache(schedule), shape, "x") == schedule
    assert steps_mask(schedule) == (1, 0, 0, 1)


def test_blocks_that_differ_are_refused() -> None:
    arrays = {"transformer_blocks": heuristic("fora:2", PIXART).recompute["transformer_blocks"].copy()}
    arrays["transformer_blocks"][3, 1, 2] = True
    with pytest.raises(
        ScheduleError, match="step 3: ff is recomputed in 1 of 3 transformer_blocks.*one mask for all"
    ):
        dump_smoothcache(Schedule("pixart", arrays))


def test_block_lists_that_differ_are_refused() -> None:
    arrays = {name: array.copy() for name, array in heuristic("fora:2", FLUX).recompute.items()}
    arrays["single_transformer_blocks"][1, :, 0] = True
    expected = "step 1: attn of transformer_blocks and of single_transformer_blocks differ.*one mask for all"
    with pytest.raises(ScheduleError, match=expected):
        dump_smoothcache(Schedule("flux", arrays))


def test_a_reused_whole_output_is_refused() -> None:
    with pytest.raises(
        ScheduleError, match="step 1 reuses the transformer's whole output.*--format cache-dit"
    ):
        dump_smoothcache(heuristic("output:0,2", PIXART))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 0]", "not a schedule of SmoothCache: it must be masks by component, not"),
        ("{}", "not a schedule of SmoothCache"),
        ('{"attn1": [1, 0}', "line 1: not valid JSON"),
        ('{"attn1": [1], "attn1": [1]}', "the key 'attn1' occurs twice"),
        ('{"attn1": [1, 2]}', "'attn1', step 1: the digits are 0 or 1, not 2"),
        ('{"attn1": [1, true]}', "'attn1', step 1: the digits are 0 or 1, not True"),
        ('{"attn1": [1, 0.0]}', "'attn1', step 1: the digits are 0 or 1, not 0.0"),
        ('{"attn1": [1, NaN]}', "NaN is not a number"),
        ('{"attn1": []}', "'attn1' must be a list of 1 to 1000 digits"),
        ('{"attn1": [1], "ff": "1"}', "'ff' must be a list of 1 to 1000 digits, not '1'"),
        (json.dumps({"ff": [1] * 1001}), "'ff' must be a list of 1 to 1000 digits"),
        ('{"attn1": [1, 0], "ff": [1]}', "'attn1' has 2, 'ff' has 1"),
        ('{"attn3": [1, 0]}', "pixart has no component 'attn3', only attn1, attn2, ff"),
        ('{"attn": [1, 0], "attn1": [1, 0]}', "'attn' and 'attn1' are the same component of pixart"),
        ('{"a\\nb": [1]}', "pixart has no component"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(text: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        parse_smoothcache(text, PIXART, "file.json")
    assert str(error.value).startswith("file.json: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_where_a_schedule_is_expected_the_way_is_named() -> None:
    with pytest.raises(
        ScheduleError, match="f.json is masks of SmoothCache.*ecad schedule import FILE --model"
    ):
        parse_schedule('{"attn1": [1, 0]}', "f.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"cache_schedule": [1]}', '{"a": 1}', "ecad_schedule: 1", '{"a":' * 100_000]
)
def test_what_is_not_meant_to_be_smoothcache(text: str) -> None:
    assert not is_smoothcache(text)
