"""Files that are taken for schedules: the message says what they are, and a command that the user can type."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.schedule import Calibration, ScheduleShape, dump_official, dump_schedule, heuristic, load_schedule
from ecad.schedule.files import parse_schedule
from ecad.schedule.files.steps_mask import dump_cache_dit, steps_mask
from ecad.schedule.files.strangers import what_else

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 2})


def refusal(text: str) -> str:
    with pytest.raises(ScheduleError) as error:
        parse_schedule(text, "the file")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_calibration() -> None:
    components = {"transformer_blocks": np.zeros((6, 6, 2, 3))}
    text = json.dumps(Calibration(SHAPE, components, np.zeros((6, 6))).to_json())
    assert refusal(text).startswith("the file is a calibration: ecad schedule new smooth:ALPHA")


def test_a_steps_mask_of_cache_dit_gives_the_command_that_makes_its_schedule() -> None:
    schedule = heuristic("output:0,1,4", SHAPE)
    message = refusal(dump_cache_dit(schedule))
    words = shlex.split(message[message.index("ecad schedule new") :])
    assert words == [
        *("ecad", "schedule", "new", "output:0,1,4", "--steps", "6"),
        *("--model", "MODEL", "-o", "OUT"),
    ]
    assert heuristic(words[3], SHAPE) == schedule
    assert steps_mask(schedule) == (1, 1, 0, 0, 1, 0)


@pytest.mark.parametrize("mask", ["fast", "[]", "[0, 0]", f"[{', '.join('1' * 101)}]"])
def test_other_configurations_of_cache_dit(mask: str) -> None:
    message = refusal(f"cache_config:\n  steps_computation_mask: {mask}\n")
    assert message == (
        "the file is a configuration of cache-dit, which names no model: write a schedule for your model with ecad "
        "schedule new"
    )


def test_a_run(tmp_path: Path) -> None:
    (tmp_path / "run" / "front").mkdir(parents=True)
    with pytest.raises(
        ScheduleError, match=r"run is a run, not a schedule file: its schedules are .*/front/\*.yaml"
    ):
        load_schedule(tmp_path / "run")


@pytest.mark.parametrize(
    "text",
    [
        dump_schedule(
            heuristic("fora:2", SHAPE).replace(name="cache_config:", provenance={"cache_config": 1})
        ),
        dump_official(heuristic("fora:2", SHAPE).replace(provenance={"ecad_calibration": 1})),
        "",
        "{",
        '{"ecad_calibration": 1',
        '["ecad_calibration"]',
        "ecad_schedule: 1",
    ],
)
def test_what_may_be_a_schedule_is_left_to_its_reader(text: str) -> None:
    assert what_else(text) is None
