"""Schedule files: lossless, readable, and strict about every mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.models import PRESETS, find_model
from ecad.resources import list_schedules
from ecad.schedule import Schedule, ScheduleShape, dump_schedule, heuristic, load_schedule, save_schedule
from ecad.schedule.files import MAX_FILE_BYTES, parse_schedule

SHAPE = ScheduleShape("pixart", 3, {"transformer_blocks": 4})
SCHEDULE = heuristic("random:0.5:3", SHAPE).replace(
    name="a name: with 'quotes'",
    model={"name": "pixart-alpha", "height": 256},
    provenance={"run": "abc", "search": {"alignment": 0.1 + 0.2, "ok": True, "none": None, "list": [1, "é"]}},
)
TEXT = dump_schedule(SCHEDULE)


def test_round_trip_is_lossless(tmp_path: Path) -> None:
    save_schedule(SCHEDULE, tmp_path / "new" / "s.yaml")
    loaded = load_schedule(tmp_path / "new" / "s.yaml")
    assert loaded == SCHEDULE
    assert (loaded.name, loaded.model, loaded.provenance) == (
        SCHEDULE.name,
        SCHEDULE.model,
        SCHEDULE.provenance,
    )
    assert dump_schedule(loaded) == TEXT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.yaml"]


def test_one_line_per_step_and_component() -> None:
    """A change of one bit is a change of one character in one line."""
    bit = not SCHEDULE.recompute["transformer_blocks"][2, 1, 1]
    arrays = SCHEDULE.recompute["transformer_blocks"].copy()
    arrays[2, 1, 1] = bit
    other = dump_schedule(SCHEDULE.replace(recompute={"transformer_blocks": arrays}))
    changed = [(a, b) for a, b in zip(TEXT.splitlines(), other.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    before, after = changed[0]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert before.endswith("# step 2")


def with_line(old: str, new: str) -> str:
    assert TEXT.count(old) >= 1
    return TEXT.replace(old, new, 1)


FIRST_ROW = TEXT.splitlines().index("    attn1:") + 2  # line number of step 0 of attn1
STEP_0 = '"1111"  # step 0'

MISTAKES = {
    "empty": ("", "line 1: the file is empty"),
    "comment only": ("# nothing\n", "the file is empty"),
    "not a mapping": ("- 1\n", "line 1: the file must be 'key: value' lines"),
    "not yaml": ("a: [1,\n", "not valid YAML"),
    "other yaml": ("a: 1\n", "not an ecad schedule"),
    "newer format": (with_line("ecad_schedule: 1", "ecad_schedule: 2"), "format version 2.*reads 1: update"),
    "unknown key": (with_line("steps: 3", "stepz: 3"), "unknown key 'stepz'"),
    "missing key": (with_line("steps: 3\n", ""), "the key 'steps' is missing"),
    "steps text": (
        with_line("steps: 3", "steps: many"),
        "steps must be a whole number from 1 to 1000, not 'many'",
    ),
    "steps bool": (with_line("steps: 3", "steps: true"), "not True"),
    "huge steps": (with_line("steps: 3", "steps: 1000000"), "not 1000000"),
    "other steps": (with_line("steps: 3", "steps: 4"), "attn1 has 3 lines, but 'steps' is 4"),
    "unknown family": (with_line("family: pixart", "family: unet"), "unknown model family 'unet'"),
    "wrong block list": (
        with_line("  transformer_blocks: 4", "  blocks: 4"),
        "blocks must have the block lists",
    ),
    "missing component": (with_line("    attn2:", "    attn3:"), "must have the components"),
    "short line": (
        with_line(STEP_0, '"111"  # step 0'),
        f"line {FIRST_ROW}: step 0 of attn1 must be 4 digits.*'111'",
    ),
    "long line": (with_line(STEP_0, '"11111"  # step 0'), "must be 4 digits 0 or 1, not '11111'"),
    "letters": (with_line(STEP_0, '"11x1"  # step 0'), "not '11x1'"),
    "no list": (with_line("    attn2:\n", "    attn2: {}\n    x:\n"), "components"),
    "duplicate key": (TEXT + "steps: 3\n", "the key 'steps' occurs twice"),
    "alias": (with_line("provenance:", "provenance: &a {}\nx: *a\ny:"), "anchors and aliases"),
    "python object": ("!!python/object/apply:os.system ['true']\n", "not allowed"),
    "own tag": (with_line("name:", "name: !secret"), "not allowed"),
    "deep": ("a: " + "[" * 40 + "]" * 40, "levels deep"),
    "very deep": ("a: " + "[" * 20000, "deep|not valid YAML"),
    "control characters": ("a: \x00\n", "not valid YAML"),
    "name is a list": (with_line("name: 'a name: with ''quotes'''", "name: [1]"), "name must be text"),
    "provenance is text": (
        TEXT[: TEXT.index("provenance:")] + "provenance: x\n" + TEXT[TEXT.index("recompute:") :],
        "provenance must be a mapping",
    ),
    "bad date": (with_line("run: abc", "run: 2020-99-99"), "not allowed|cannot be read"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_every_mistake_is_one_clear_line(case: str) -> None:
    text, message = MISTAKES[case]
    with pytest.raises(ScheduleError, match=message) as caught:
        parse_schedule(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml")
    assert "\n" not in str(caught.value)


def test_mutated_files_give_a_schedule_or_a_schedule_error() -> None:
    """Nothing else leaks, whatever is cut off or changed."""
    rng = np.random.default_rng(0)
    alphabet = list("01 :-[]{}&*!#\"'\n\tax%@`|>?,\x07é")
    accepted = 0
    for length in range(0, len(TEXT), 7):
        accepted += survives(TEXT[:length])
    for _ in range(600):
        characters = list(TEXT)
        for _ in range(int(rng.integers(1, 4))):
            characters[int(rng.integers(len(characters)))] = str(rng.choice(alphabet))
        accepted += survives("".join(characters))
    assert 0 < accepted < 600  # some changes are in comments and names


def survives(text: str) -> bool:
    try:
        return isinstance(parse_schedule(text, "mutant"), Schedule)
    except ScheduleError:
        return False


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="no schedule file 'absent.yaml'.*pixart-mini/fora-2"):
        load_schedule("absent.yaml")
    big = tmp_path / "big.yaml"
    big.write_text("# " + "x" * MAX_FILE_BYTES)
    with pytest.raises(ScheduleError, match="at most 2000000"):
        load_schedule(big)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScheduleError, match="not a UTF-8 text file"):
        load_schedule(binary)
    with pytest.raises(ScheduleError, match="cannot be written to a file"):
        dump_schedule(SCHEDULE.replace(provenance={"x": np.float64(1.0)}))


@pytest.mark.parametrize("name", list_schedules())
def test_bundled_schedules_fit_their_models(name: str) -> None:
    schedule = load_schedule(name)
    model = name.split("/")[0]
    source = find_model(model)
    assert schedule.model["name"] == model
    assert source.spec is not None
    assert schedule.shape == ScheduleShape(
        source.spec.family, PRESETS[model].steps, source.spec.block_counts(source.transformer_config or {})
    )
    if "heuristic" in schedule.provenance:
        assert schedule == heuristic(schedule.provenance["heuristic"], schedule.shape)
