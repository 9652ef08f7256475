"""What is read from a prompt file, whatever its format, and how a prompt becomes one clean line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PROMPT_NAMES = ("prompt", "prompts", "caption")  # of columns and keys, in any case
CATEGORY_NAME = "category"
EMPTY, COMMENT, WRONG = "empty", "comments", "without a prompt"
CUT_CHARACTER = "with half a character (an emoji that was cut)"

# Controls but the tab, and the line breaks of Unicode: they are no end of a prompt, and no part of it either.
_BREAKS = re.compile("\\s*[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+\\s*")
_SURROGATES = re.compile("[\ud800-\udfff]")


class PromptFileMistake(Exception):  # noqa: N818 - never leaves this package: the loader adds the file's name
    """What is wrong with a prompt file, in one line that follows its name: "is ..."."""


@dataclass(frozen=True)
class Records:
    """What a file holds: prompts in order, one category each if it has categories, and what is not usable."""

    format: str
    prompts: list[str]
    categories: list[str] | None
    left_out: dict[str, int]  # reason -> number of entries


def clean_line(text: str) -> str:
    """The text on one line: line breaks of any kind and controls are a blank, byte-order marks inside vanish."""
    return _BREAKS.sub(" ", text.replace("\ufeff", "")).strip()


def has_cut_character(text: str) -> bool:
    """Whether it holds half a character (a lone surrogate), which no text encoder can be told."""
    return _SURROGATES.search(text) is not None


def collect(name: str, entries: Iterable[tuple[Any, Any]], *, has_categories: bool) -> Records:
    """The usable ones of (prompt, category), each prompt on one line."""
    prompts, categories = [], []
    left_out: Counter[str] = Counter()
    for prompt, category in entries:
        if not isinstance(prompt, str):
            left_out[WRONG] += 1
            continue
        line = clean_line(prompt)
        if not line:
            left_out[EMPTY] += 1
        elif has_cut_character(line):
            left_out[CUT_CHARACTER] += 1
        else:
            prompts.append(line)
            categories.append(_SURROGATES.sub("\ufffd", clean_line(str(category))))
    return Records(name, prompts, categories if has_categories else None, dict(left_out))


def shortened(text: str, most: int = 60) -> str:
    """A piece of a file as a message shows it."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")
