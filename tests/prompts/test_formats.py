"""Prompt files as people have them: every writer, encoding and line end, and what makes prompts hard to keep whole."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ecad.errors import ConfigError
from ecad.prompts import load_prompts, prompt_set
from ecad.prompts.formats import FORMATS

CAT, DOG = "a cat, sitting on a mat, photo", "a dog in the snow"

# --- every format with every prompt that is hard on it, in every encoding and with every line end ---

HARD = (
    CAT,
    DOG,
    'a "red" cat; a blue one',
    "it's 5' 11\" tall",
    "{red|blue} cat, [masterpiece:1.2], <lora:x>",
    "ein Käfer, 猫, \U0001f600 and e\u0301",
    "prompt",
    "a cat \\n not a line break \\u0041",
)
Writer = Callable[[Sequence[str], str], str]


def _table(separator: str, quoting: int) -> Writer:
    def write(prompts: Sequence[str], end: str) -> str:
        file = io.StringIO()
        writer = csv.writer(file, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[call-overload]
        writer.writerow(["id", "Prompt", "category"])
        writer.writerows([number, prompt, "x"] for number, prompt in enumerate(prompts))
        return file.getvalue()

    return write


def _plain_tabs(prompts: Sequence[str], end: str) -> str:
    return end.join(
        ["id\tPrompt\tcategory", *(f"{number}\t{prompt}\tx" for number, prompt in enumerate(prompts)), ""]
    )


def _one_column(prompts: Sequence[str], end: str) -> str:
    return end.join(["prompt", *('"' + prompt.replace('"', '""') + '"' for prompt in prompts), ""])


def _json(content: Callable[[Sequence[str]], object], ascii_only: bool = False) -> Writer:
    return lambda prompts, end: json.dumps(content(prompts), ensure_ascii=ascii_only, indent=1).replace(
        "\n", end
    )


def _lines(content: Callable[[str], object]) -> Writer:
    return lambda prompts, end: "".join(json.dumps(content(prompt)) + end for prompt in prompts)


# name -> (file name, what the user has to say of it, writer)
WRITERS: dict[str, tuple[str, str | None, Writer]] = {
    "text": ("x.txt", None, lambda prompts, end: end.join([*prompts, ""])),
    "text without a last end": ("x.txt", None, lambda prompts, end: end.join(prompts)),
    "text of no known name": ("prompts", None, lambda prompts, end: end.join(prompts)),
    "csv": ("x.csv", None, _table(",", csv.QUOTE_MINIMAL)),
    "csv, all quoted": ("x.csv", None, _table(",", csv.QUOTE_ALL)),
    "csv, semicolons": ("x.csv", None, _table(";", csv.QUOTE_MINIMAL)),
    "csv, semicolons, said": ("x.data", "csv-semicolon", _table(";", csv.QUOTE_MINIMAL)),
    "csv, tabs": ("x.csv", None, _table("\t", csv.QUOTE_MINIMAL)),
    "csv, one column": ("x.csv", None, _one_column),
    "csv as text, said": ("x.txt", "csv", _table(",", csv.QUOTE_ALL)),
    "csv of no known name": ("prompts", None, _table(",", csv.QUOTE_ALL)),
    "tsv": ("x.tsv", None, _plain_tabs),
    "tsv as text": ("x.txt", None, _plain_tabs),
    "tsv, quoted": ("x.tsv", "tsv-quoted", _table("\t", csv.QUOTE_ALL)),
    "list": ("x.json", None, _json(list)),
    "list as text": ("x.txt", None, _json(list)),
    "list, escaped": ("x.json", None, _json(list, ascii_only=True)),
    "objects": ("x.json", None, _json(lambda prompts: [{"prompt": prompt} for prompt in prompts])),
    "objects by name": ("x.json", None, _json(lambda p: {str(n): {"prompt": prompt} for n, prompt in enumerate(p)})),
    "one object of prompts": ("x.json", None, _json(lambda prompts: {"prompts": list(prompts)})),
    "captions": ("x.json", None, _json(lambda p: {"annotations": [{"caption": each} for each in p]})),
    "lines of objects": ("x.jsonl", None, _lines(lambda prompt: {"tag": 1, "prompt": prompt})),
    "lines of objects as json": ("x.json", None, _lines(lambda prompt: {"tag": 1, "prompt": prompt})),
    "lines of objects, other key": ("x.jsonl", "jsonl:text", _lines(lambda prompt: {"prompt": "no", "text": prompt})),
    "lines of texts": ("x.ndjson", None, _lines(lambda prompt: prompt)),
}  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_prompt_comes_back(tmp_path: Path, name: str, encoding: str) -> None:
    file, said, write = WRITERS[name]
    for end, hard in itertools.product(("\n", "\r\n", "\r"), [HARD, *zip(HARD, reversed(HARD), strict=True)]):
        # A text that has nothing but the word "prompt" in its first line may be a table, and is asked about.
        wanted = [prompt for prompt in hard if prompt != "prompt" or (len(hard) > 2)]
        text = write(wanted, end)
        path = tmp_path / file
        path.write_bytes(
            ("\ufeff" + text).encode("utf-16-be") if encoding.endswith("mark") else text.encode(encoding)
        )
        assert list(load_prompts(str(path), format_name=said).prompts) == list(dict.fromkeys(wanted)), (
            end,
            hard,
        )


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\f", "\v", "\x1c", "\x1e", "\x07"])
def test_rare_line_breaks_end_no_prompt(tmp_path: Path, character: str) -> None:
    prompts = ["a red circle", f"a poster that says{character}hello, in blue", "a green square"]
    expected = ("a red circle", "a poster that says hello, in blue", "a green square")
    for name, (file, said, write) in WRITERS.items():
        path = tmp_path / file
        path.write_bytes(write(prompts, "\n").encode())
        assert load_prompts(str(path), format_name=said).prompts == expected, name


def test_byte_order_marks_of_joined_files_vanish(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("\ufeffa cat\n\ufeffa dog\n", encoding="utf-8")
    assert load_prompts(str(path)).prompts == ("a cat", "a dog")


def test_a_cell_of_several_lines_is_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f'id,prompt\r\n1,"a cat,\r\nsitting on a mat, photo"\r\n2,{DOG}\r\n', newline="")
    assert load_prompts(str(path)).prompts == (CAT, DOG)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", r'["a red circle", "a happy \ud83d face", "a green square"]'),
        ("x.json", r'[{"prompt": "a red circle"}, {"prompt": "\udc00 low one"}, {"prompt": "a green square"}]'),
        ("x.jsonl", '"a red circle"\n"cut \\ud83d"\n"a green square"\n'),
        ("x.json", r'{"a": {"prompt": "a red circle"}, "b": {"prompt": "\ud83d"}, "c": {"prompt": "a green square"}}'),
    ],
)  # fmt: skip
def test_prompts_with_half_an_emoji_are_left_out_and_said(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    prompts = load_prompts(str(tmp_path / name))
    assert prompts.prompts == ("a red circle", "a green square")
    assert prompts.describe().endswith("left out: 1 with half a character (an emoji that was cut)")


def test_half_an_emoji_elsewhere(tmp_path: Path) -> None:
    assert prompt_set("mine", ["cut \ud83d", DOG]).prompts == (DOG,)
    with pytest.raises(ConfigError, match="no prompts: 1 with half a character"):
        prompt_set("mine", ["cut \ud83d"])
    (tmp_path / "x.json").write_text(r'{"a": {"category": "x\ud83d", "prompt": "a cat"}}')
    assert load_prompts(str(tmp_path / "x.json")).categories == ("x\ufffd",)
    (tmp_path / "y.json").write_text(r'["\ud83d\ude00 whole"]')
    assert load_prompts(str(tmp_path / "y.json")).prompts == ("\U0001f600 whole",)


# --- told apart by what they are called, and only then by their content ---


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("x.txt", f"meme, caption, a cat looks at a dog\n{DOG}\n", ("meme, caption, a cat looks at a dog", DOG)),
        ("x.txt", f"masterpiece, prompt, 1girl, solo\n{DOG}\n", ("masterpiece, prompt, 1girl, solo", DOG)),
        ("x.txt", f'"{DOG}"\n{CAT}\n', (f'"{DOG}"', CAT)),
        ("x.txt", "[masterpiece] a cat\n{red|blue} dog\n", ("[masterpiece] a cat", "{red|blue} dog")),
        ("x.csv", f',prompt\n0,"{CAT}"\n1,{DOG}\n', (CAT, DOG)),
        ("x.csv", f'"id","prompt"\n"1","{CAT}"\n"2","{DOG}"\n', (CAT, DOG)),
        ("x.csv", f"id;prompt\n1;{CAT}\n2;{DOG}\n", (CAT, DOG)),
        ("x.csv", f"sep=;\r\nid;prompt\r\n1;{CAT}\r\n", (CAT,)),
        ("x.csv", f'\n\nid, prompt\n1, "{CAT}"\n', (CAT,)),
        ("x.csv", f'id,prompt,,\n1,"{CAT}",,\n2,{DOG},,,\n', (CAT, DOG)),
        ("x.tsv", 'id\tprompt\n1\ta "red" cat\n2\t"quoted"\n', ('a "red" cat', '"quoted"')),
        ("x.json", '{"prompt": "a cat"}', ("a cat",)),
        ("x.json", '[{"Prompt": "a cat"}]', ("a cat",)),
        ("x.jsonl", '\n{"prompt": "a cat"}\n\n{"prompt": "a dog"}', ("a cat", "a dog")),
        ("x.prompts", "id;prompt\n1;a cat\n2;a dog\n", ("a cat", "a dog")),
    ],
)  # fmt: skip
def test_what_a_person_sees(tmp_path: Path, file: str, text: str, expected: tuple[str, ...]) -> None:
    (tmp_path / file).write_bytes(text.encode())
    assert load_prompts(str(tmp_path / file)).prompts == expected


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("x.csv", 'id,prompt\n1,"a cat\n2,a dog\n', "the row that starts in line 2 cannot be read .*quotation marks"),
        ("x.csv", 'id,prompt\n1,a\n2,"a cat\n3,"a dog"\n', "starts in line 3 cannot be read .*close its"),
        ("x.csv", "id,prompt\n1,a cat, on a mat\n", "line 2 has 3 cells and the heading 2: put .*--prompts-format txt"),
        ("x.csv", f"prompt\n{CAT}\n", "line 2 has 3 cells and the heading 1"),
        ("x.csv", f"sep=;\nid;prompt\n1;a;{CAT}\n", "line 3 has 3 cells"),
        ("x.csv", "id,text\n1,a cat\n", r"columns \['id', 'text'\] is called Prompt.* --prompts-format csv:COLUMN"),
        ("x.csv", f"{DOG}\na cat\n", "none of its columns .*--prompts-format txt if each line is one prompt"),
        ("x.tsv", 'id\tprompt\n1\t"a ""red"" cat"\n', "line 2 looks quoted .*tsv-quoted if .*tsv if they belong"),
        ("x.tsv", 'id\tprompt\n1\t"a cat\non a mat"\n', "line 2 looks quoted"),
        ("x.txt", f"prompt\n{DOG}\n", "may be a table or a text .*'prompt'.*--prompts-format csv if .*txt if"),
        ("x.txt", "id,prompt\n1,a cat\n", "may be a table or a text .*--prompts-format csv if"),
        ("x.txt", "id;prompt\n1;a cat\n", "may be a table or a text .*--prompts-format csv-semicolon if"),
        ("x", "masterpiece,prompt,1girl\na dog\n", "may be a table or a text"),
        ("x.txt", "1\ta cat\n2\ta dog\n", "none of its columns .*--prompts-format txt if each line"),
        ("x.txt", '"a cat",\n"a dog"\n', "all its lines in quotation marks .*--prompts-format jsonl .* or txt"),
        ("x.txt", '["cat":0.5] on a mat\n', "not valid JSON: .* line 1; if each line .*--prompts-format txt"),
        ("x.yaml", "- a cat\n", "ends in .yaml, of which ecad reads no prompts: give --prompts-format txt"),
        ("x.jsonl", '{"prompt": "a"}\n{"prompt": b}\n', "JSON Lines, but line 2 is not valid JSON"),
        ("x.jsonl", '{"text": "a"}\n', "another key than \"prompt\" is named as in --prompts-format json:KEY"),
        ("x.json", "[" + 5000 * "9" + "]", "no JSON that can be read"),
        ("x.json", 100_000 * "[", "JSON of too many levels"),
    ],
)  # fmt: skip
def test_what_is_in_doubt_or_wrong_is_one_line_with_the_remedy(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_bytes(text.encode())
    with pytest.raises(ConfigError, match=message) as caught:
        load_prompts(str(tmp_path / file))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a dog\ncaf\xe9\n".encode("cp1252"), r"not a UTF-8 text file: .* in line 2 \(byte 9\): save it as UTF-8"),
        ("caf\xe9\n".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("a cat\n".encode("utf-16-be"), "UTF-16 without a byte-order mark"),
        (b"\xff\xfea\x00\x00\xd8", "not a UTF-16-LE text file"),
        (b"\x1f\x8b\x08\x00", "compressed: unpack it with gunzip"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive or a spreadsheet: .*CSV UTF-8"),
        (b"PAR1\x15\x04", "a Parquet file: save it as JSON Lines"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\xef\xbb\xbf<html>", "an HTML page"),
    ],
)  # fmt: skip
def test_what_is_no_text_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    for file in ("x.txt", "x.csv", "x.json"):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_prompts(str(tmp_path / file))


# --- what the user says decides ---


def test_the_users_word_decides(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("prompt\nid,prompt\n")
    assert load_prompts(str(path), format_name="txt").prompts == ("prompt", "id,prompt")
    path.write_text('"a cat"\n"a dog"\n')
    assert load_prompts(str(path), format_name="txt").prompts == ('"a cat"', '"a dog"')
    assert load_prompts(str(path), format_name="jsonl").prompts == ("a cat", "a dog")
    path = tmp_path / "x.csv"
    path.write_text("name,text,prompt\n1,a cat,no\n")
    assert load_prompts(str(path), format_name="csv:Text").prompts == ("a cat",)
    path.write_text("id;prompt\n1;a cat\n")
    with pytest.raises(ConfigError, match=r"\(commas between cells\)"):
        load_prompts(str(path), format_name="csv")
    path = tmp_path / "x.tsv"
    path.write_text('prompt\tid\n"a ""red"" cat"\t1\n')
    assert load_prompts(str(path), format_name="tsv").prompts == ('"a ""red"" cat"',)
    assert load_prompts(str(path), format_name="tsv-quoted").prompts == ('a "red" cat',)
    path.write_text('{"prompt": "a"}')
    with pytest.raises(ConfigError, match="no object in it has a 'title'"):
        load_prompts(str(path), format_name="json:title")


@pytest.mark.parametrize("text", ["xls", "csv:", "txt:prompt", "CSV", ""])
def test_unknown_formats_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown prompt format '{text}': use {', '.join(FORMATS)}"):
        load_prompts("scenes-search", format_name=text)
