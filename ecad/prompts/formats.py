"""The prompt files of the field, as users have them, recognised by their content.

| format | looks like |
|---|---|
| text | one prompt per line, `#` starts a comment line (DrawBench, COCO captions as text, ecad's own sets) |
| table | a header with a column Prompt, Prompts or Caption, separated by tabs (PartiPrompts) or commas |
| ImageReward JSON | `[{"id": ..., "prompt": ...}, ...]` |
| JSON list | `["prompt", ...]` |
| MJHQ-30K JSON | `{"<image name>": {"category": ..., "prompt": ...}, ...}` |
| COCO JSON | `{"annotations": [{"image_id": ..., "caption": ...}, ...], ...}`: the first caption of each image |
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PROMPT_COLUMNS = ("prompt", "prompts", "caption")
_CATEGORY_COLUMN = "category"
_EMPTY, _COMMENT, _WRONG, _SAME_IMAGE = (
    "empty",
    "comments",
    "without a prompt",
    "further captions of an image",
)

# What people download by mistake instead of the file: how it starts, and what it is.
_MISTAKEN_FOR = {
    "<!doctype html": "is an HTML page and no prompt file: download the raw file",
    "<html": "is an HTML page and no prompt file: download the raw file",
    "version https://git-lfs": "is a Git LFS pointer and no prompt file: fetch the file itself with git lfs pull",
    "%pdf-": "is a PDF document and no prompt file",
}


class PromptFileMistake(Exception):  # noqa: N818 - never leaves this package: the loader adds the file's name
    """What is wrong with a prompt file, in one line."""


@dataclass(frozen=True)
class Records:
    """What a file holds: prompts in order, one category each if it has categories, and what is not usable."""

    format: str
    prompts: list[str]
    categories: list[str] | None
    left_out: dict[str, int]  # reason -> number of entries


def read_records(text: str, must_be_json: bool = False) -> Records:
    """All prompts in the text of a file; duplicates are still in. Raises PromptFileMistake."""
    start = text.lstrip()[:100].lower()
    for sign, what in _MISTAKEN_FOR.items():
        if start.startswith(sign):
            raise PromptFileMistake(what)
    if "\0" in text:
        raise PromptFileMistake("is a binary file and no prompt file")
    # A list or an object; a line of text may start with a bracket too, but then a word follows.
    if must_be_json or re.match(r'\s*(\[\s*["{\]]|\{\s*["}])', text):
        return _read_json(text)
    header, separator = _table_header(text)
    if separator:
        return _read_table(text, header, separator)
    lines = [line.strip() for line in text.splitlines()]
    left_out: Counter[str] = Counter(
        _EMPTY if not line else _COMMENT for line in lines if not line or line.startswith("#")
    )
    kept = [line for line in lines if line and not line.startswith("#")]
    return Records("text", kept, None, dict(left_out))


def _table_header(text: str) -> tuple[list[str], str]:
    """(column names in lower case, separator) of a table's first line; the separator is "" for other texts."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    for separator in ("\t", ","):
        columns = [column.strip().lower() for column in first.split(separator)]
        if len(columns) > 1 and any(name in columns for name in _PROMPT_COLUMNS):
            return columns, separator
    if "\t" in first and not first.startswith("#"):
        raise PromptFileMistake(
            f"is a table (its first line has tabs), but none of its columns {first.split(chr(9))} is called "
            "Prompt, Prompts or Caption"
        )
    return [], ""


def _read_table(text: str, header: Sequence[str], separator: str) -> Records:
    lines = io.StringIO(text.lstrip("\r\n"))
    if separator == "\t":
        # Spreadsheets write tab-separated files without quoting, so that a quotation mark belongs to the prompt.
        rows = list(csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE))[1:]
    else:
        rows = list(csv.reader(lines, delimiter=separator))[1:]
    prompt_column = next(header.index(name) for name in _PROMPT_COLUMNS if name in header)
    category_column = header.index(_CATEGORY_COLUMN) if _CATEGORY_COLUMN in header else None

    def cell(row: Sequence[str], column: int | None) -> str:
        return row[column] if column is not None and column < len(row) else ""

    entries = [(cell(row, prompt_column), cell(row, category_column)) for row in rows]
    name = "tab-separated table" if separator == "\t" else "comma-separated table"
    return _collect(name, entries, has_categories=category_column is not None)


def _read_json(text: str) -> Records:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptFileMistake(f"is not valid JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise PromptFileMistake("is JSON of too many levels and no prompt file") from None
    if isinstance(content, list):
        if content and all(isinstance(item, str) for item in content):
            return _collect("JSON list", [(item, "") for item in content], has_categories=False)
        return _of_objects("ImageReward JSON", content)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _read_coco(content["annotations"])
    if isinstance(content, dict):
        return _of_objects("MJHQ-30K JSON", list(content.values()))
    raise PromptFileMistake(_unknown_json(content))


def _of_objects(name: str, items: Sequence[Any]) -> Records:
    """Objects with a "prompt" each, and perhaps a "category"."""
    objects: list[Mapping[str, Any]] = [item if isinstance(item, dict) else {} for item in items]
    if items and not any("prompt" in item for item in objects):
        raise PromptFileMistake(_unknown_json(items[0]))
    entries = [(item.get("prompt"), item.get("category", "")) for item in objects]
    return _collect(name, entries, has_categories=any("category" in item for item in objects))


def _read_coco(annotations: Sequence[Any]) -> Records:
    """Captions of images; COCO has five or more of each, of which the first in the file is used."""
    if annotations and not any(isinstance(item, dict) and "caption" in item for item in annotations):
        raise PromptFileMistake(
            "is a COCO file without captions (its annotations are others): use captions_*.json"
        )
    firsts: dict[Any, Any] = {}
    further = 0
    for number, item in enumerate(annotations):
        known = isinstance(item, dict)
        # An annotation that names no image stands for itself.
        image = str(item["image_id"]) if known and "image_id" in item else (number,)
        if image in firsts:
            further += 1
        else:
            firsts[image] = item.get("caption") if known else None
    records = _collect("COCO JSON", [(caption, "") for caption in firsts.values()], has_categories=False)
    if further:
        records.left_out[_SAME_IMAGE] = further
    return records


def _collect(name: str, entries: Iterable[tuple[Any, Any]], *, has_categories: bool) -> Records:
    """The usable ones of (prompt, category), each prompt on one line."""
    prompts, categories = [], []
    left_out: Counter[str] = Counter()
    for prompt, category in entries:
        if not isinstance(prompt, str):
            left_out[_WRONG] += 1
            continue
        line = " ".join(part.strip() for part in prompt.splitlines()).strip()
        if not line:
            left_out[_EMPTY] += 1
            continue
        prompts.append(line)
        categories.append(str(category).strip())
    return Records(name, prompts, categories if has_categories else None, dict(left_out))


def _unknown_json(example: Any) -> str:
    shown = json.dumps(example, ensure_ascii=False)[:60]
    return (
        f"is JSON, but no prompt format that ecad knows (it holds {shown}): use a list of objects with a "
        '"prompt" (ImageReward), an object of such objects (MJHQ-30K), or COCO captions'
    )
