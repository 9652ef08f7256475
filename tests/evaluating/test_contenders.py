"""What can be typed after `ecad evaluate`, and the rows that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecad.errors import ConfigError, RunError, ScheduleError
from ecad.evaluating.contenders import contenders_for, read_wishes, schedule_steps
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.schedule import ScheduleShape, heuristic, save_schedule

SHAPE = ScheduleShape("pixart", 6, {"transformer_blocks": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a front, a folder of schedules, a folder with nothing."""
    for name, text in (("run/front/01-2x", "fora:2"), ("mine/a", "fora:3"), ("mine/b", "mask:0,1")):
        save_schedule(heuristic(text, SHAPE), tmp_path / f"{name}.yaml")
    (tmp_path / "run" / "config.yaml").write_text("ecad_run: 1\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def rows(*texts: str | Path) -> list[tuple[str, str, int]]:
    found = contenders_for(read_wishes([str(text) for text in texts]), SHAPE)
    return [(contender.name, contender.kind, contender.steps) for contender in found]


def test_everything_that_can_be_a_row(folder: Path) -> None:
    assert rows(
        folder / "run", folder / "mine" / "a.yaml", folder / "mine", "tgate:2", "steps:3", "steps:9"
    ) == [
        ("uncached", "uncached", 6),
        ("01-2x", "front", 6),
        ("a", "schedule", 6),  # the same file in the folder is not there twice
        ("b", "schedule", 6),
        ("tgate:2", "heuristic", 6),
        ("steps:3", "fewer-steps", 3),
        ("steps:9", "more-steps", 9),
    ]
    assert rows("steps:6", "fora:3", folder / "mine" / "a.yaml") == [
        ("uncached", "uncached", 6),  # six steps are what uncached has
        ("fora:3", "heuristic", 6),  # and the file says the same
    ]


def test_steps_at_chosen_noise_levels() -> None:
    found = contenders_for(read_wishes(["steps:0,2,5", "steps:3", "steps:0,1,5", "steps:0,2,5"]), SHAPE)
    assert found[1:] == [
        Contender("steps:0,2,5", Kind.FEWER_STEPS, 3, levels=(0, 2, 5)),
        Contender("steps:3", Kind.FEWER_STEPS, 3),
        Contender("steps:0,1,5", Kind.FEWER_STEPS, 3, levels=(0, 1, 5)),
    ]
    assert rows("steps:0,1,2,3,4,5") == rows()  # what uncached does
    assert schedule_steps(read_wishes(["steps:0,2,5"])) is None


@pytest.mark.parametrize(
    "text",
    ["steps:0,2,2", "steps:0,3,1", "steps:1,3", "steps:0,2,x", "steps:0,-1", "steps:0,", "steps:0,1.5"],
)
def test_levels_that_are_none_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"increasing whole numbers, 0 first, for example steps:0,2"
    ) as caught:
        rows(text)
    assert str(caught.value).startswith(repr(text))
    assert "\n" not in str(caught.value)


def test_levels_beyond_the_uncached_steps_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^'steps:0,2,6': the uncached model's steps are 0 to 5$"):
        rows("steps:0,2,6")


def test_bundled_names() -> None:
    shape = ScheduleShape("pixart", 20, {"transformer_blocks": 8})
    one = contenders_for(read_wishes(["pixart-mini/fast"]), shape)
    assert [each.name for each in one] == ["uncached", "pixart-mini/fast"]
    names = [wish.name for wish in read_wishes(["pixart-mini"])]
    assert "pixart-mini/fast" in names
    assert "pixart-mini/fora-2" in names


def test_equal_names_become_longer(folder: Path) -> None:
    save_schedule(heuristic("attn:2", SHAPE), folder / "other" / "a.yaml")
    names = [name for name, _, _ in rows(folder / "mine" / "a.yaml", folder / "other" / "a.yaml")]
    assert names == ["uncached", f"{folder}/mine/a.yaml", f"{folder}/other/a.yaml"]
    # A file that is called like the row of the model itself.
    save_schedule(heuristic("attn:2", SHAPE), folder / "uncached.yaml")
    assert rows(folder / "uncached.yaml")[1][0] == f"{folder}/uncached.yaml"


def test_schedules_keep_their_own_steps(folder: Path) -> None:
    other = heuristic("fora:2", ScheduleShape("pixart", 4, {"transformer_blocks": 3}))
    save_schedule(other, folder / "four.yaml")
    assert rows(folder / "four.yaml")[1] == ("four", "schedule", 4)
    assert schedule_steps(read_wishes([str(folder / "four.yaml")])) == 4
    assert schedule_steps(read_wishes([str(folder / "four.yaml"), str(folder / "mine")])) is None
    assert schedule_steps(read_wishes(["fora:2", "steps:3"])) is None


def test_mistakes_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to evaluate in .*empty: it holds no schedule files"):
        rows(folder / "empty")
    (folder / "empty" / "evaluations.jsonl").touch()
    with pytest.raises(
        ConfigError, match="this run has no front yet: let it finish with ecad search --resume"
    ):
        rows(folder / "empty")
    (folder / "run" / "config.yaml").write_text("ecad_run: 99\n")
    with pytest.raises(RunError, match="run format 99"):
        rows(folder / "run")
    with pytest.raises(ConfigError, match=r"'steps:': .* for example steps:12"):
        rows("steps:")
    with pytest.raises(ScheduleError, match="no schedule file 'pixart-mini/fats'.*did you mean"):
        rows("pixart-mini/fats")
    with pytest.raises(ScheduleError, match="does not fit the model: it is for pixart, 20 steps, 28"):
        rows("pixart-alpha/fora-2")
    (folder / "uncached").mkdir()
    assert Contender("uncached", Kind.UNCACHED, 6) == contenders_for([], SHAPE)[0]
