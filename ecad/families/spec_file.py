"""A `Family` as a YAML file: for a transformer that ecad does not know, written by hand or by `ecad models --inspect`.

A file has the fields of `Family` and of what it holds, those left out that have their default. Presets and formulas
are code and stay out of it.
"""

from __future__ import annotations

import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ecad.errors import ModelError, one_line
from ecad.families.family import Component, Family, OfficialNames
from ecad.yaml_nodes import Node, YamlMistake, parse_yaml, shown

FORMAT_VERSION = 1
FAMILY_FILE = "family.yaml"  # in a run folder, and beside schedules for such a model
MAX_FILE_BYTES = 1_000_000
KINDS = ("self_attention", "cross_attention", "joint_attention", "feed_forward", "projection")

_VERSION_KEY = "ecad_family"
_ALL = "the file"
_CODE = ("presets", "formulas")  # fields of a family that no file holds
_HEADER = "# ecad family: which blocks a transformer has, and which of their modules can be cached.\n"

# A place in a family: (), (block list,) or (block list, component).
Place = tuple[str, ...]


# --- reading ---


def load_family(path: str | os.PathLike[str]) -> Family:
    """The family in a file; ModelError with the file's name and the line for every mistake."""
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ModelError(f"{path} is too large for a family: more than {MAX_FILE_BYTES / 1e6:g} MB")
        return parse_family(content.decode("utf-8"), str(path))
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user (~name)
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(one_line(f"cannot read the family file {path}: {reason}")) from None
    except UnicodeDecodeError as error:
        raise ModelError(one_line(f"{path}: not UTF-8 text ({error.reason})")) from None


def parse_family(text: str, origin: str) -> Family:
    """The family in a text; the same errors, which name `origin`."""
    try:
        return _family_from(parse_yaml(text))
    except YamlMistake as mistake:
        raise ModelError(one_line(f"{origin}, {mistake}")) from None
    except ModelError as error:  # what the family itself refuses
        raise ModelError(one_line(f"{origin}: {error}")) from None


def _family_from(root: Node) -> Family:
    content = root.mapping(_ALL)
    if _VERSION_KEY not in content:
        raise root.mistake(f"not a family of ecad: the key {_VERSION_KEY!r} (format version) is missing")
    # First of all: another version may have other keys.
    version = content[_VERSION_KEY].integer(f"{_VERSION_KEY} (format version)", 1, 10**9)
    if version != FORMAT_VERSION:
        raise content[_VERSION_KEY].mistake(
            f"format version {version}, but this ecad reads only {FORMAT_VERSION}: update ecad"
        )
    family: Family = _record_from(root, Family, _ALL, beside=(_VERSION_KEY,))
    for key, values in (
        ("transformer_classes", family.transformer_classes),
        ("block_lists", family.block_lists),
    ):
        if not values:
            raise content[key].mistake(f"{key} is empty: there is nothing to cache")
    _check_names(content, family)
    return family


def _check_names(content: Mapping[str, Node], family: Family) -> None:
    """Names that must not be empty, and not occur twice."""
    if not family.name:
        raise content["name"].mistake("the name is empty")
    lists = content["block_lists"].sequence("block_lists")
    for number, (node, block_list) in enumerate(zip(lists, family.block_lists, strict=True)):
        if not block_list.name or block_list.name in family.block_list_names[:number]:
            raise node.mistake(f"block list {block_list.name!r}: each needs a name of its own")
        components = node.mapping("a block list")["components"]
        if not block_list.components:
            raise components.mistake(f"{block_list.name} has no components: there is nothing to cache")
        parts = components.sequence("components")
        for index, (part, name) in enumerate(zip(parts, block_list.component_names, strict=True)):
            if not name or name in block_list.component_names[:index]:
                raise part.mistake(f"component {name!r} of {block_list.name}: each needs a name of its own")


def _record_from(node: Node, record: Any, what: str, beside: tuple[str, ...] = ()) -> Any:
    """A dataclass or named tuple from 'key: value' lines; `beside` are keys that are read elsewhere."""
    hints = _hints(record)
    required = [name for name in hints if not _has_default(record, name)]
    entries = node.mapping(what, required=required, known=(*beside, *hints))
    values = {
        name: _value_from(entry, hints[name], name if what == _ALL else f"{name} of {what}")
        for name, entry in entries.items()
        if name not in beside
    }
    if record is Component:
        _check_kind(entries["kind"], values["kind"])
    try:
        return record(**values)
    except ModelError as error:
        raise node.mistake(str(error)) from None


def _check_kind(node: Node, kind: str) -> None:
    if kind not in KINDS:
        close = get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(KINDS)}"
        raise node.mistake(f"unknown kind {shown(kind)} of component, {hint}")


def _value_from(node: Node, hint: Any, what: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if node.value() is None:
            return None
        [hint] = [each for each in arguments if each is not type(None)]
        return _value_from(node, hint, what)
    if origin is tuple:
        inner = "block list" if what.startswith("block_lists") else what.partition(" of ")[0].rstrip("s")
        return tuple(_value_from(each, arguments[0], inner) for each in node.sequence(what))
    if origin is typing.Literal:
        value = node.value()
        if value not in arguments:
            raise node.mistake(f"{what} must be {' or '.join(map(str, arguments))}, not {shown(value)}")
        return value
    if _is_record(hint):
        return _record_from(node, hint, what)
    if hint is str:
        return node.text(what)
    if hint is int:
        return node.integer(what, -(10**9), 10**9)
    value = node.value()
    if hint is bool:
        if not isinstance(value, bool):
            raise node.mistake(f"{what} must be true or false, not {shown(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise node.mistake(f"{what} must be a number, not {shown(value)}")
    return float(value)


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (is_dataclass(hint) or hint is OfficialNames)


def _hints(record: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    return {name: hint for name, hint in hints.items() if record is not Family or name not in _CODE}


def _has_default(record: Any, name: str) -> bool:
    return _default(record, name) is not MISSING


def _default(record: Any, name: str) -> Any:
    if not is_dataclass(record):
        return MISSING
    [field] = [each for each in fields(record) if each.name == name]
    known: Field[Any] = field
    return known.default_factory() if known.default_factory is not MISSING else known.default


# --- writing ---


def dump_family(family: Family, notes: Mapping[Place, str] | None = None) -> str:
    """The file's text, without presets and formulas. `notes` become comments at the places that they are about."""
    notes = notes or {}
    lines = [_HEADER.rstrip("\n"), *_comment(notes, (), ""), f"{_VERSION_KEY}: {FORMAT_VERSION}"]
    for name in _hints(Family):
        value = getattr(family, name)
        if name == "block_lists":
            lines.append("block_lists:")
            for block_list in family.block_lists:
                lines += _comment(notes, (block_list.name,), "  ")
                inner = _changed(block_list, "components")
                lines += [
                    f"  {mark} {line}" for mark, line in zip("-" + " " * len(inner), inner, strict=False)
                ]
                lines.append("    components:")
                for component in block_list.components:
                    lines += _comment(notes, (block_list.name, component.name), "      ")
                    lines.append(f"      - {_flow(component)}")
        elif value != _default(Family, name):
            lines.append(f"{name}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _comment(notes: Mapping[Place, str], place: Place, indent: str) -> list[str]:
    return [f"{indent}# {line}".rstrip() for line in notes.get(place, "").splitlines()]


def _changed(record: Any, *without: str) -> list[str]:
    """`key: value` of every field that has not its default."""
    return [
        f"{name}: {_flow(getattr(record, name))}"
        for name in _hints(type(record))
        if name not in without and getattr(record, name) != _default(type(record), name)
    ]


def _flow(value: Any) -> str:
    """A value on one line."""
    if _is_record(type(value)):
        return "{" + ", ".join(_changed(value)) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = value.replace("_", "").replace(".", "").replace("*", "")
        is_plain = plain.isascii() and plain.isalnum() and value[0].isalpha() and value.lower() not in _WORDS
        # JSON's quotes are YAML's, too.
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    return "null" if value is None else str(value)


_WORDS = ("yes", "no", "on", "off", "true", "false", "null", "y", "n")  # that YAML takes for something else
