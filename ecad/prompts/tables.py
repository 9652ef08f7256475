"""Tables of prompts: a heading that names a column, and rows with commas, semicolons or tabs between their cells.

The `csv` module reads them, strictly; it is never asked to guess. The heading says which separator it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecad.prompts.records import CATEGORY_NAME, PROMPT_NAMES, PromptFileMistake, Records, collect, shortened

_NAMES = {",": "comma-separated table", ";": "semicolon-separated table", "\t": "tab-separated table"}
_BETWEEN = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MOST_COLUMNS_SHOWN = 8
_DOUBLED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')  # as programs write a cell that holds quotation marks


@dataclass(frozen=True)
class TableFormat:
    """The separators that may be, and whether cells may stand in quotation marks.

    `option` is what the user would call it, `is_sure` whether it was the user who said so.
    """

    option: str
    separators: tuple[str, ...]
    quoted: bool
    is_sure: bool = True


def read_table(text: str, form: TableFormat, column: str | None = None) -> Records:
    """All prompts of a table, from the column of this name or of a usual one. Raises PromptFileMistake."""
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(
        r'"?sep=(.)"?', first.strip("\r")
    )  # a spreadsheet's own hint in front of the heading
    separators, skipped = form.separators, 0
    if declared is not None and declared.group(1) in _NAMES:
        separators, text, skipped = (declared.group(1),), rest, 1
    wanted = PROMPT_NAMES if column is None else (column.lower(),)
    for separator in separators:
        rows = _rows(text, separator, form, skipped)
        _, heading = next(rows, (0, []))
        names = [cell.strip().lower() for cell in heading]
        found = next((names.index(name) for name in wanted if name in names), None)
        if found is not None:
            entries = list(_entries(rows, names, found, form))
            return collect(_NAMES[separator], entries, has_categories=CATEGORY_NAME in names)
    if not text.strip():
        return Records(_NAMES[separators[0]], [], None, {})
    raise PromptFileMistake(_no_column(text, separators, form, column))


def likely_heading(text: str) -> tuple[str, bool] | None:
    """Whether a text starts with a heading: what separates its cells ("" for a single one), and whether that is sure.

    One of the cells is called as prompts usually are. It is sure with tabs, which prompts have none of, and where all
    rows have as many cells and no separator is followed by a blank, as in a sentence. None if neither is so.
    """
    first = next((line for line in re.split("[\r\n]", text) if line.strip()), "")
    if first.strip().strip('"').lower() in PROMPT_NAMES:
        return "", False
    for separator in ("\t", ",", ";"):
        names = [cell.strip().strip('"').lower() for cell in first.split(separator)]
        if len(names) > 1 and any(name in names for name in PROMPT_NAMES):
            signs = separator + " " not in first, _is_even(text, separator)
            if separator == "\t" or any(signs):
                return separator, separator == "\t" or all(signs)
    return None


def _is_even(text: str, separator: str) -> bool:
    """Whether all rows, and there are some, have as many cells as the first."""
    try:
        rows = [row for _, row in _rows(text, separator, TableFormat("csv", (separator,), True), 0) if row]
    except PromptFileMistake:
        return False
    return len(rows) > 1 and len({len(row) for row in rows}) == 1


def _rows(text: str, separator: str, form: TableFormat, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """The rows, each with the number of its first line; blank ones before the heading are left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE,
        skipinitialspace=form.quoted,  # before a quotation mark a blank would make it one of the prompt's own
        strict=True,
    )
    is_started = False
    while True:
        line = reader.line_num + 1 + skipped
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise PromptFileMistake(
                f"is a table, but the row that starts in line {line} cannot be read ({error}): close its quotation "
                "marks, and write one inside a cell twice"
            ) from None
        is_started = is_started or any(cell.strip() for cell in row)
        if is_started:
            yield line, row


def _entries(
    rows: Iterator[tuple[int, list[str]]], names: Sequence[str], column: int, form: TableFormat
) -> Iterator[tuple[str, str]]:
    """(prompt, category) of each row, "" where it has none."""
    category = names.index(CATEGORY_NAME) if CATEGORY_NAME in names else len(names)
    for line, row in rows:
        if any(cell.strip() for cell in row[len(names) :]):
            raise PromptFileMistake(
                f"is a table, but line {line} has {len(row)} cells and the heading {len(names)}: put a prompt that "
                "holds the separator into quotation marks; if each line is one prompt, delete the heading and give "
                "--prompts-format txt"
            )
        prompt = row[column] if column < len(row) else ""
        if not form.quoted and not form.is_sure and _looks_quoted(prompt):
            raise PromptFileMistake(
                f"is a table whose line {line} looks quoted ({shortened(prompt)}): give --prompts-format tsv-quoted if "
                "quotation marks surround cells, tsv if they belong to the prompts"
            )
        yield prompt, row[category] if category < len(row) else ""


def _looks_quoted(cell: str) -> bool:
    """Whether a cell was written by a program that quotes, or starts one that goes on in the next line."""
    text = cell.strip()
    return text.startswith('"') and (_DOUBLED.fullmatch(text) is not None or text.count('"') % 2 == 1)


def _no_column(text: str, separators: Sequence[str], form: TableFormat, column: str | None) -> str:
    headings = {separator: next(_rows(text, separator, form, 0), (0, []))[1] for separator in separators}
    likeliest = max(headings, key=lambda separator: len(headings[separator]))
    shown = [cell.strip()[:40] for cell in headings[likeliest][:_MOST_COLUMNS_SHOWN]]
    called = "Prompt, Prompts or Caption" if column is None else repr(column)
    return (
        f"is a table ({_BETWEEN[likeliest]} between cells), but none of its columns {shown} is called {called}: rename "
        f"one, name it as in --prompts-format {form.option}:COLUMN, or give --prompts-format txt if each line is one "
        "prompt"
    )
