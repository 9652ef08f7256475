"""Prompts in JSON: lists, objects by name, COCO's captions, and JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ecad.prompts.records import CATEGORY_NAME, EMPTY, PROMPT_NAMES, PromptFileMistake, Records, collect

_SAME_IMAGE = "further captions of an image"
_MORE_FOLLOWS = "Extra data"  # json's message for a second value


def looks_like_json(text: str) -> bool:
    """Whether it starts as a list or an object. A line of text may start with a bracket too; then a word follows."""
    return re.match(r'\s*(\[\s*["{\]]|\{\s*["}])', text) is not None


def read_json(text: str, key: str | None = None) -> Records:
    """A whole file of JSON; one with a value in each line is read as JSON Lines. Raises PromptFileMistake."""
    try:
        content = _loaded(text)
    except json.JSONDecodeError as error:
        if error.msg == _MORE_FOLLOWS:
            return read_json_lines(text, key)
        raise PromptFileMistake(f"is not valid JSON: {error.msg} in line {error.lineno}") from None
    if isinstance(content, list):
        if content and all(isinstance(item, str) for item in content):
            return collect("JSON list", [(item, "") for item in content], has_categories=False)
        return _of_objects("ImageReward JSON", content, key)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return _read_coco(content["annotations"])
    if isinstance(content, dict) and isinstance(content.get("prompts"), list) and key is None:
        return _of_values("JSON list", content["prompts"], key)
    if isinstance(content, dict) and isinstance(content.get(key or "prompt"), str):
        return _of_objects("ImageReward JSON", [content], key)
    if isinstance(content, dict):
        return _of_objects("MJHQ-30K JSON", list(content.values()), key)
    raise PromptFileMistake(_unknown_json(content, key))


def read_json_lines(text: str, key: str | None = None) -> Records:
    """One object, or one text, in each line (GenEval, HPSv2, most sets on the hub). Raises PromptFileMistake."""
    values, blank = [], 0
    for number, line in enumerate(re.split("\r\n|\r|\n", text.rstrip("\r\n")), start=1):
        if not line.strip():
            blank += 1
            continue
        try:
            values.append(_loaded(line))
        except json.JSONDecodeError as error:
            raise PromptFileMistake(
                f"is read as JSON Lines, but line {number} is not valid JSON: {error.msg}: mend the line, or give "
                "--prompts-format json if one value fills the file"
            ) from None
    records = _of_values("JSON Lines", values, key)
    if blank and values:
        records.left_out[EMPTY] = records.left_out.get(EMPTY, 0) + blank
    return records


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise PromptFileMistake("is JSON of too many levels and no prompt file") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise PromptFileMistake(f"is no JSON that can be read: {error}") from None


def _of_values(name: str, values: Sequence[Any], key: str | None) -> Records:
    """Texts, or objects."""
    if values and all(isinstance(value, str) for value in values):
        return collect(name, [(value, "") for value in values], has_categories=False)
    return _of_objects(name, values, key)


def _of_objects(name: str, items: Sequence[Any], key: str | None) -> Records:
    """Objects with a "prompt" each (or what `key` says), and perhaps a "category"."""
    objects: list[Mapping[str, Any]] = [item if isinstance(item, dict) else {} for item in items]
    used = key or _usual_key(objects)
    if items and not any(used in item for item in objects):
        raise PromptFileMistake(_unknown_json(items[0], key))
    entries = [(item.get(used), item.get(CATEGORY_NAME, "")) for item in objects]
    return collect(name, entries, has_categories=any(CATEGORY_NAME in item for item in objects))


def _usual_key(objects: Sequence[Mapping[str, Any]]) -> str:
    """The key that prompts have in these objects: "prompt", "Prompt", "caption", ..."""
    there = dict.fromkeys(key for item in objects for key in item)
    for name in PROMPT_NAMES:
        for key in there:
            if key.lower() == name:
                return key
    return PROMPT_NAMES[0]


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
    records = collect("COCO JSON", [(caption, "") for caption in firsts.values()], has_categories=False)
    if further:
        records.left_out[_SAME_IMAGE] = further
    return records


def _unknown_json(example: Any, key: str | None) -> str:
    shown = json.dumps(example)[:60]
    if key is not None:
        return f"is JSON, but no object in it has a {key!r} (it holds {shown}): name another key behind the colon"
    return (
        f"is JSON, but no prompt format that ecad knows (it holds {shown}): use a list of objects with a "
        '"prompt" (ImageReward), an object of such objects (MJHQ-30K), COCO captions, or JSON Lines; another key than '
        '"prompt" is named as in --prompts-format json:KEY'
    )
