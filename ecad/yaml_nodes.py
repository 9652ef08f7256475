"""A small, strict view of YAML that remembers line numbers: plain data only, no tags, no anchors, no duplicate keys.

A file may come from anywhere, so its size in nodes and its depth are limited while it is read, before anything
is built from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from ecad.errors import one_line

MAX_DEPTH = 12  # of nested mappings and lists, the root being at depth 1
MAX_NODES = 20_000  # scalars, lists and mappings; a schedule has one per step and component
MAX_NUMBER_CHARACTERS = 100

_TAG_PREFIX = "tag:yaml.org,2002:"
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
# YAML 1.1 also knows 0x1f, 017 (octal), 1_000 and 1:30 (base 60); nobody means those here.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")


class YamlMistake(Exception):  # noqa: N818 - not an error by itself: its reader adds the file's name
    """A mistake with its place, as text: "line 7: ..."."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


def shown(value: Any) -> str:
    """A value as part of a one-line message: its `repr`, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass(frozen=True)
class Node:
    """One YAML node: a scalar, a list or a mapping. `line` is that of its key, where it has one."""

    node: yaml.Node
    line: int

    def mistake(self, message: str) -> YamlMistake:
        return YamlMistake(self.line, message)

    def mapping(
        self, what: str, required: Collection[str] = (), known: Collection[str] = ()
    ) -> dict[str, Node]:
        """The entries, in the order of the file. With `known`, all other keys are mistakes."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.mistake(f"{what} must be 'key: value' lines, not {self._what_it_is()}")
        entries = {key.value: Node(value, _line(key)) for key, value in self.node.value}
        for key, entry in entries.items():
            if known and key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(known)}"
                raise entry.mistake(f"{what}: unknown key {shown(key)}, {hint}")
        for key in required:
            if key not in entries:
                raise self.mistake(f"{what}: the key {key!r} is missing")
        return entries

    def sequence(self, what: str) -> list[Node]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.mistake(f"{what} must be a list of '- ...' lines, not {self._what_it_is()}")
        return [Node(item, _line(item)) for item in self.node.value]

    def characters(self, what: str) -> str:
        """The scalar as it is written: digits without quotes are not read as a number."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.mistake(f"{what} must be text, not {self._what_it_is()}")
        return str(self.node.value)

    def text(self, what: str) -> str:
        value = self.value()
        if not isinstance(value, str):
            raise self.mistake(f"{what} must be text, not {shown(value)}: put it in quotes")
        return value

    def integer(self, what: str, low: int, high: int) -> int:
        value = self.value()
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.mistake(f"{what} must be a whole number from {low} to {high}, not {shown(value)}")
        return value

    def value(self) -> Any:
        """The node as plain Python data: dict, list, str, int, finite float, bool, None."""
        if isinstance(self.node, yaml.MappingNode):
            return {key: entry.value() for key, entry in self.mapping("").items()}
        if isinstance(self.node, yaml.SequenceNode):
            return [item.value() for item in self.sequence("")]
        text, kind = str(self.node.value), _kind(self.node)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return _BOOLEANS[text.lower()]
        if len(text) <= MAX_NUMBER_CHARACTERS:
            if kind == "int" and _INTEGER.fullmatch(text):
                return int(text)
            if kind == "float" and _FLOAT.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
        raise self.mistake(
            f"{shown(text)} is neither a plain decimal number nor text: write it in decimal or in quotes"
        )

    def _what_it_is(self) -> str:
        if isinstance(self.node, yaml.ScalarNode):
            return shown(self.node.value) if self.node.value else "nothing"
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "'key: value' lines"


def parse_yaml(text: str) -> Node:
    """The root of a YAML text; raises YamlMistake for whatever is not plain data."""
    try:
        loader = _StrictLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlMistake(
            mark.line + 1 if mark else 1, f"not valid YAML: {one_line(error.problem or '')}"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlMistake(line, f"not valid YAML: the character U+{error.character:04X}") from None
    except (ValueError, OverflowError):  # PyYAML's escapes: "\UFFFFFFFF" is no character
        raise YamlMistake(loader.line + 1, "not valid YAML: no such character") from None
    if root is None:
        raise YamlMistake(1, "the file is empty")
    return Node(root, _line(root))


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes only, and stops at the first thing that is not plain data."""

    def __init__(self, text: str) -> None:
        self._depth = 0
        self._nodes = 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise YamlMistake(line, "anchors (&) and aliases (*) are not allowed here")
        if event.tag is not None:
            raise YamlMistake(line, f"tags such as {shown(event.tag)} are not allowed here, only plain data")
        if self._nodes > MAX_NODES:
            raise YamlMistake(line, f"more than {MAX_NODES} values: that is too much for a file of ecad")
        is_scalar = isinstance(event, yaml.ScalarEvent)
        if self._depth == MAX_DEPTH and not is_scalar:
            raise YamlMistake(line, f"nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and _kind(node) in ("timestamp", "merge", "value"):
            raise YamlMistake(line, f"{shown(node.value)} has a special meaning in YAML: put it in quotes")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        return node


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlMistake(_line(key), "a key must be text, not a list or a mapping")
        if _kind(key) != "str":
            raise YamlMistake(_line(key), f"the key {shown(key.value)} must be text: put it in quotes")
        if key.value in seen:
            raise YamlMistake(_line(key), f"the key {shown(key.value)} occurs twice")
        seen.add(key.value)


def _kind(node: yaml.Node) -> str:
    """What YAML takes a scalar for: "str", "int", "timestamp", ..."""
    return str(node.tag).removeprefix(_TAG_PREFIX)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
