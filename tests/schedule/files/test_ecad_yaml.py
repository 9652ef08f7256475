"""Schedule files: lossless, readable, and strict about every mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecad.errors import ScheduleError
from ecad.families import PRESETS, find_model
from ecad.resources import list_schedules
from ecad.schedule import Schedule, ScheduleShape, dump_schedule, heuristic, load_schedule, save_schedule
from ecad.schedule.files.ecad_yaml import MAX_FILE_BYTES, parse_schedule

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


def test_the_whole_output_is_one_line(tmp_path: Path) -> None:
    skipping = heuristic("output:0,2", SHAPE)
    text = dump_schedule(skipping)
    assert '  output: "101"\n' in text
    assert "  output:" not in dump_schedule(heuristic("mask:0,2", SHAPE))
    save_schedule(skipping, tmp_path / "s.yaml")
    loaded = load_schedule(tmp_path / "s.yaml")
    assert loaded == skipping != heuristic("mask:0,2", SHAPE)
    assert loaded.recompute_output.tolist() == [True, False, True]
    assert dump_schedule(loaded) == text
    # What is not read is read as 0, and step 0 as 1, as everywhere.
    assert parse_schedule(text.replace('"0000"', '"1010"').replace('"101"', '"001"'), "s.yaml") == skipping


def test_what_is_held_is_one_line() -> None:
    held = heuristic("denoised:0,2", SHAPE)
    text = dump_schedule(held)
    assert "\nholds: denoised\nrecompute:\n" in text
    assert "goes on with the clean sample predicted last" in text
    assert parse_schedule(text, "s.yaml") == held != heuristic("output:0,2", SHAPE)
    # The default, and what nobody would read, are not written.
    assert "holds:" not in dump_schedule(heuristic("output:0,2", SHAPE))
    assert "holds:" not in dump_schedule(heuristic("mask:0,2", SHAPE).replace(holds="denoised"))
    assert parse_schedule(text.replace("holds: denoised", "holds: output"), "s.yaml") == heuristic(
        "output:0,2", SHAPE
    )
    with pytest.raises(ScheduleError, match=r"line \d+: holds is 'output' or 'denoised', not 'noise'"):
        parse_schedule(text.replace("holds: denoised", "holds: noise"), "s.yaml")
    with pytest.raises(ScheduleError, match=r"line \d+: holds must be text"):
        parse_schedule(text.replace("holds: denoised", "holds: 1"), "s.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"10"', "line 12: output has 2 digits, one per step, but 'steps' is 3"),
        ('"1x1"', "output: the digits are 0 or 1, not 'x'"),
        ("[1, 0, 1]", "output must be text"),
    ],
)
def test_mistakes_in_the_whole_output(line: str, message: str) -> None:
    text = dump_schedule(heuristic("output:0,2", SHAPE)).replace('"101"', line)
    with pytest.raises(ScheduleError, match=message):
        parse_schedule(text, "s.yaml")


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
    "newer format": (
        with_line("ecad_schedule: 1", "ecad_schedule: 2"),
        "line 3: format version 2.*reads only 1: update",
    ),
    "unknown key": (with_line("steps: 3", "stepz: 3"), "unknown key 'stepz', did you mean 'steps'"),
    "missing key": (with_line("steps: 3\n", ""), "the key 'steps' is missing"),
    "steps text": (
        with_line("steps: 3", "steps: many"),
        "steps must be a whole number from 1 to 1000, not 'many'",
    ),
    "steps bool": (with_line("steps: 3", "steps: true"), "not True"),
    "huge steps": (with_line("steps: 3", "steps: 1000000"), "not 1000000"),
    "other steps": (with_line("steps: 3", "steps: 4"), "attn1 has 3 lines, one per step, but 'steps' is 4"),
    "unknown family": (with_line("family: pixart", "family: unet"), "unknown model family 'unet'"),
    "wrong block list": (
        with_line("  transformer_blocks: 4", "  blocks: 4"),
        "line 9: blocks: unknown key 'blocks', expected transformer_blocks",
    ),
    "missing component": (with_line("    attn2:", "    attn3:"), "unknown key 'attn3'"),
    "short line": (
        with_line(STEP_0, '"111"  # step 0'),
        f"line {FIRST_ROW}: step 0 of attn1 has 3 digits, but there are 4 blocks",
    ),
    "long line": (with_line(STEP_0, '"11111"  # step 0'), f"line {FIRST_ROW}: step 0 of attn1 has 5 digits"),
    "letters": (with_line(STEP_0, '"11x1"  # step 0'), "step 0 of attn1: the digits are 0 or 1, not 'x'"),
    "no list": (
        TEXT[: TEXT.index("    ff:")] + "    ff: {}\n",
        "ff must be a list of '- ...' lines",
    ),
    "no components": (
        TEXT[: TEXT.index("    attn1:")],
        "transformer_blocks must be 'key: value' lines, not nothing",
    ),
    "truncated after a component": (
        TEXT[: TEXT.index("    ff:")],
        "transformer_blocks: the key 'ff' is missing",
    ),
    "duplicate key": (TEXT + "steps: 3\n", "the key 'steps' occurs twice"),
    "alias": (with_line("provenance:", "provenance: &a"), "anchors .&. and aliases"),
    "python object": ("!!python/object/apply:os.system ['true']\n", "not allowed"),
    "own tag": (with_line("name:", "name: !secret"), "not allowed"),
    "deep": ("a: " + "[" * 40 + "]" * 40, "levels deep"),
    "very deep": ("a: " + "[" * 20000, "deep|not valid YAML"),
    "merge key": (with_line("    alignment:", "    <<:"), "put it in quotes"),
    "number as a key": (with_line("    alignment:", "    1:"), "the key '1' must be text: put it in quotes"),
    "list as a key": (with_line("    alignment:", "    [a]:"), "a key must be text"),
    "explicit type": (with_line("steps: 3", "steps: !!int ''"), "tags such as 'tag:yaml.org,2002:int'"),
    "explicit truth": (with_line("steps: 3", "steps: !!bool x"), "tags such as"),
    "version is true": (with_line("ecad_schedule: 1", "ecad_schedule: true"), "format version.*not True"),
    "hexadecimal": (with_line("steps: 3", "steps: 0x3"), "'0x3' is neither a plain decimal number nor text"),
    "a million digits": (with_line("steps: 3", "steps: 0x" + "f" * 10**6), "'0xffff.*neither"),
    "not finite": (with_line("height: 256", "height: .nan"), "'.nan' is neither"),
    "too large a float": (with_line("height: 256", "height: 1.0e+999"), "neither"),
    "escape of no character": (with_line("run: abc", r'run: "\UFFFFFFFF"'), "line 13: not valid YAML"),
    "very many values": ("a: [" + "1," * 30000, "more than 20000 values"),
    "two documents": (TEXT + "--- 1\n", "not valid YAML: but found another document"),
    "control characters": ("a: \x00\n", "not valid YAML"),
    "name is a list": (with_line("name: 'a name: with ''quotes'''", "name: [1]"), "name must be text"),
    "provenance is text": (
        TEXT[: TEXT.index("provenance:")] + "provenance: x\n" + TEXT[TEXT.index("recompute:") :],
        "provenance must be 'key: value' lines, not 'x'",
    ),
    "bad date": (
        with_line("run: abc", "run: 2020-99-99"),
        "line 13: '2020-99-99' has a special meaning in YAML: put it in quotes",
    ),
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
    alphabet = [*"01 :-[]{}&*!#\"'\n\tax%@`|>?,~=\x07é", "!!int ", "<<: ", "---\n", "\ud800"]
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
    with pytest.raises(ScheduleError, match="no schedule file 'absent.yaml'.*such as .*pixart-mini/fast"):
        load_schedule("absent.yaml")
    big = tmp_path / "big.yaml"
    big.write_text("# " + "x" * MAX_FILE_BYTES)
    with pytest.raises(ScheduleError, match="too large for a schedule: it has more than 2 MB"):
        load_schedule(big)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScheduleError, match="binary.yaml, line 1: not UTF-8 text"):
        load_schedule(binary)
    with pytest.raises(ScheduleError, match="is a folder"):
        load_schedule(tmp_path)
    with pytest.raises(ScheduleError, match="did you mean 'pixart-mini/fora-2'"):
        load_schedule("pixart-mini/fora-22")
    for name in ("~no-such-user-here/x.yaml", "x" * 5000, "a\0b", "", "line\nbreak"):
        with pytest.raises(ScheduleError) as caught:
            load_schedule(name)
        assert "\n" not in str(caught.value)


def test_an_existing_file_wins_over_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_schedule("pixart-mini/fora-2").steps == 20
    save_schedule(SCHEDULE, "pixart-mini/fora-2")
    assert load_schedule("pixart-mini/fora-2") == SCHEDULE


# Text that YAML would read as something else, or could fold, if it were not written with care.
AWKWARD = [
    *("", " ", "yes", "null", "~", "1", "1.0", "1e5", "0x1f", "017", "1:30", "=", "<<", "2024-01-01", ".nan"),
    *(
        "a: b",
        "- a",
        "# a",
        "'",
        '"',
        "\\",
        "&a",
        "*a",
        "!a",
        "%a",
        "{",
        "[",
        "|",
        ">",
        "a\n\n b\n",
        "\t",
        "\r\n",
    ),
    *("\0", "\x7f", "\x85", "a\u2028b", "\ufeff", "\U0001f600 \x85 \U0001f600", "word " * 500),
]


def test_awkward_values_come_back_as_they_were() -> None:
    same = [1, 2]
    values = [0, -1, 2**299, 0.1, -0.0, 1e300, 5e-324, 1e22, True, False, None, [], {}, [[]], [same, same]]
    schedule = SCHEDULE.replace(
        model={text: text for text in AWKWARD}, provenance={"values": values, "texts": {"as": AWKWARD}}
    )
    for name in AWKWARD:
        loaded = parse_schedule(dump_schedule(schedule.replace(name=name)), "file.yaml")
        assert loaded.name == name
    assert repr(dict(loaded.model)) == repr(dict(schedule.model))
    assert repr(dict(loaded.provenance)) == repr(dict(schedule.provenance))  # repr: -0.0 == 0.0, True == 1


UNWRITABLE = {
    "numpy number": (np.float64(1.0), "provenance.x: only plain data.*not a float64"),
    "tuple": ((1, 2), "not a tuple"),
    "set": ({1}, "not a set"),
    "number as a key": ({1: 2}, "provenance.x: keys must be text, not 1"),
    "not finite": (float("nan"), "nan is not a finite number"),
    "huge number": (10**5000, "too large"),
    "half a character": ("\ud800", "not valid Unicode"),
    "too many": (list(range(20000)), "too many"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_would_not_come_back_is_not_written(case: str, tmp_path: Path) -> None:
    value, message = UNWRITABLE[case]
    path = tmp_path / "s.yaml"
    save_schedule(SCHEDULE, path)
    with pytest.raises(ScheduleError, match=message):
        save_schedule(SCHEDULE.replace(provenance={"x": value}), path)
    assert path.read_text(encoding="utf-8") == TEXT


def test_limits_of_writing(tmp_path: Path) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ScheduleError, match="nested too deeply"):
        dump_schedule(SCHEDULE.replace(provenance={"x": endless}))
    with pytest.raises(ScheduleError, match="must not have the key 'family'"):
        dump_schedule(SCHEDULE.replace(model={"family": "pixart"}))
    largest = ScheduleShape("pixart", 1000, {"transformer_blocks": 1000})
    with pytest.raises(ScheduleError, match="too large for a file, which has at most 2 MB"):
        dump_schedule(heuristic("all", largest))
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "s.yaml", ""):
        with pytest.raises(ScheduleError, match="cannot write"):
            save_schedule(SCHEDULE, path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nested_as_deep_as_can_be_written_can_be_read() -> None:
    value: object = 1
    for _ in range(40):
        deeper = SCHEDULE.replace(provenance={"x": value})
        try:
            text = dump_schedule(deeper)
        except ScheduleError:
            break
        assert parse_schedule(text, "file.yaml").provenance == deeper.provenance
        value = [value]
    assert str(value).count("[") > 5


def test_written_by_hand() -> None:
    """Step 0 is read as recompute; quotes round the digits are not needed; name and provenance neither."""
    text = """
ecad_schedule: 1
steps: 2
model: {family: pixart, blocks: {transformer_blocks: 2}}
recompute: {transformer_blocks: {ff: ["01", 01], attn2: [11, 10], attn1: [00, 00]}}
"""
    array = parse_schedule(text, "file.yaml").recompute["transformer_blocks"]
    assert array[0].all()
    assert array[1].tolist() == [[False, True, False], [False, False, True]]


@pytest.mark.parametrize("name", list_schedules())
def test_bundled_schedules_fit_their_models(name: str) -> None:
    schedule = load_schedule(name)
    model = name.split("/")[0]
    source = find_model(model)
    assert schedule.model["name"] == model
    assert source.family is not None
    assert schedule.shape == ScheduleShape(
        source.family.name, PRESETS[model].steps, source.family.block_counts(source.transformer_config or {})
    )
    if "heuristic" in schedule.provenance:
        assert schedule == heuristic(schedule.provenance["heuristic"], schedule.shape)


def test_a_heuristic_is_no_file_and_the_error_says_how_to_make_one() -> None:
    with pytest.raises(ScheduleError, match="fora:3 is a heuristic: .* ecad schedule new fora:3 --model"):
        load_schedule("fora:3")
