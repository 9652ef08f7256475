"""The prompt files of the field, as users have them: which format a file has.

| format | looks like | by the name |
|---|---|---|
| `txt` | one prompt per line, `#` starts a comment line (DrawBench, captions, ecad's own sets) | .txt, others |
| `csv`, `csv-semicolon` | a heading with a column Prompt, Prompts or Caption, rows that may be quoted | .csv |
| `tsv` | the same with tabs; a quotation mark belongs to the prompt (PartiPrompts) | .tsv, .tab |
| `tsv-quoted` | the same with tabs and quoted cells (as pandas writes them) | |
| `json` | `[{"id": ..., "prompt": ...}, ...]` (ImageReward), `["prompt", ...]`, | .json |
| | `{"<image>": {"category": ..., "prompt": ...}, ...}` (MJHQ-30K), | |
| | `{"annotations": [{"image_id": ..., "caption": ...}, ...]}` (COCO): the first caption of each image | |
| `jsonl` | an object with a "prompt", or a text, in each line (GenEval) | .jsonl, .ndjson |

The name decides, or the user: `FORMAT`, or `FORMAT:COLUMN` for a column or key of another name. What a text is besides
is only told where there is no doubt; where there is, the error says which option decides.
"""

from __future__ import annotations

import re
from collections import Counter

from ecad.errors import ConfigError
from ecad.prompts.json_files import looks_like_json, read_json, read_json_lines
from ecad.prompts.records import (
    COMMENT,
    CUT_CHARACTER,
    EMPTY,
    PromptFileMistake,
    Records,
    clean_line,
    has_cut_character,
    shortened,
)
from ecad.prompts.tables import TableFormat, likely_heading, read_table

FORMATS = ("txt", "csv", "csv-semicolon", "tsv", "tsv-quoted", "json", "jsonl")

_TABLES = {
    "csv": TableFormat("csv", (",",), True),
    "csv-semicolon": TableFormat("csv-semicolon", (";",), True),
    "tsv": TableFormat("tsv", ("\t",), False),
    "tsv-quoted": TableFormat("tsv-quoted", ("\t",), True),
}
_ANY_CSV = TableFormat(
    "csv", (",", ";", "\t"), True, is_sure=False
)  # spreadsheets of half the world use semicolons
_TSV_BY_NAME = TableFormat("tsv", ("\t",), False, is_sure=False)
_JSON_LINES_ENDINGS = (".jsonl", ".ndjson", ".jsonlines")
_TEXT_ENDINGS = (".txt", ".text")
# Lines of these hold more than prompts.
_OTHER_ENDINGS = (".yaml", ".yml", ".md", ".toml", ".xml", ".py", ".ini", ".log", ".tex")


def check_format(text: str) -> tuple[str, str | None]:
    """(format, column or None) of what a user gives. Raises ConfigError."""
    name, _, column = text.partition(":")
    if name not in FORMATS or (":" in text and not column.strip()) or (column and name == "txt"):
        raise ConfigError(
            f"unknown prompt format {text!r}: use {', '.join(FORMATS)}, with :COLUMN behind all but txt for a column "
            "that is not called Prompt, Prompts or Caption"
        )
    return name, column.strip() or None


def read_records(text: str, ending: str = "", format_name: str | None = None) -> Records:
    """All prompts in the text of a file; duplicates are still in. Raises PromptFileMistake.

    `ending` is that of the file's name (".csv"); `format_name` is what the user says, and then decides alone.
    """
    if format_name is not None:
        name, column = check_format(format_name)
        if name in _TABLES:
            return read_table(text, _TABLES[name], column)
        if name == "txt":
            return _read_lines(text)
        return read_json(text, column) if name == "json" else read_json_lines(text, column)
    ending = ending.lower()
    if ending in _OTHER_ENDINGS:
        raise PromptFileMistake(
            f"has a name that ends in {ending}, of which ecad reads no prompts: give --prompts-format txt if each line "
            f"is one prompt, or another of {', '.join(FORMATS)}"
        )
    if ending == ".json":
        return read_json(text)
    if ending in _JSON_LINES_ENDINGS:
        return read_json_lines(text)
    if ending == ".csv":
        return read_table(text, _ANY_CSV)
    if ending in (".tsv", ".tab"):
        return read_table(text, _TSV_BY_NAME)
    return _read_by_content(text, is_text=ending in _TEXT_ENDINGS)


def _read_by_content(text: str, is_text: bool) -> Records:
    """A file that is called a text, or as nothing that ecad knows."""
    if looks_like_json(text):
        try:
            return read_json(text)
        except PromptFileMistake as mistake:
            raise PromptFileMistake(
                f"{mistake}; if each line is one prompt, give --prompts-format txt"
            ) from None
    separator, is_sure = likely_heading(text) or (None, False)
    if separator == "\t" or _starts_with_tabs(text):
        return read_table(text, _TSV_BY_NAME)
    if is_sure and not is_text:
        return read_table(text, _ANY_CSV)
    if separator is not None:
        first = next(line for line in re.split("[\r\n]", text) if line.strip())
        option = "csv-semicolon" if separator == ";" else "csv"
        raise PromptFileMistake(
            f"may be a table or a text (its first line is {shortened(first.strip())}): give --prompts-format {option} "
            "if that is a heading, txt if it is a prompt"
        )
    lines = [line for line in map(str.strip, text.split("\n")) if line and not line.startswith("#")]
    if lines and all(re.fullmatch('".*",?', line) for line in lines):
        raise PromptFileMistake(
            f"has all its lines in quotation marks (the first is {shortened(lines[0])}): give --prompts-format jsonl "
            "to read them as JSON texts, without the marks, or txt to keep the marks"
        )
    return _read_lines(text)


def _read_lines(text: str) -> Records:
    """One prompt a line. Lines end as in every editor; the further line breaks of Unicode do not end one."""
    left_out: Counter[str] = Counter()
    kept = []
    lines = re.split("\r\n|\r|\n", text)
    if not lines[-1]:
        lines.pop()  # behind the last line's end
    for line in map(clean_line, lines):
        if not line or line.startswith("#"):
            left_out[COMMENT if line else EMPTY] += 1
        elif has_cut_character(line):
            left_out[CUT_CHARACTER] += 1
        else:
            kept.append(line)
    return Records("text", kept, None, dict(left_out))


def _starts_with_tabs(text: str) -> bool:
    first = next((line for line in re.split("[\r\n]", text) if line.strip()), "")
    return "\t" in first.strip() and not first.startswith("#")
