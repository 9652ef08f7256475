"""Plain data as YAML text that `ecad.yaml_nodes` reads back as it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from ecad.errors import ScheduleError
from ecad.yaml_nodes import MAX_DEPTH, MAX_NODES, MAX_NUMBER_CHARACTERS, shown


def dump_plain(data: Mapping[str, Any]) -> str:
    """`key: value` lines in the given order. Raises ScheduleError for what would not come back as it was.

    Plain data is dict with text keys, list, str, int, finite float, bool, None: the types of JSON.
    """
    check_plain(data)
    # So wide that no text is folded over several lines, which would diff badly.
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)


def check_plain(data: Mapping[str, Any]) -> None:
    """Raises ScheduleError for what `dump_plain` would refuse."""
    # Half of what the reader accepts: a schedule's own lines need room too.
    if sum(_count_plain(value, key, 2) for key, value in data.items()) > MAX_NODES // 2:
        raise ScheduleError(
            f"the metadata has more than {MAX_NODES // 2} values, too many for a schedule file"
        )


class _Dumper(yaml.SafeDumper):
    """Never an alias, which the reader does not accept; one line per text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML's other styles write some of YAML's line breaks (U+0085, U+2028) such that they are read as blanks.
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _count_plain(value: Any, where: str, depth: int) -> int:
    """Check a value at this depth (of nested mappings and lists) and count its YAML nodes."""
    if type(value) in (dict, list):
        if depth > MAX_DEPTH:
            raise ScheduleError(f"{where}: nested too deeply for a schedule file, at most {MAX_DEPTH} levels")
        if type(value) is list:
            return 1 + sum(_count_plain(item, where, depth + 1) for item in value)
        nodes = 1
        for key, item in value.items():
            if type(key) is not str:
                raise ScheduleError(f"{where}: keys must be text, not {shown(key)}")
            nodes += _count_plain(key, where, depth + 1)
            nodes += _count_plain(item, f"{where}.{key}"[:100], depth + 1)
        return nodes
    if type(value) is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ScheduleError(f"{where}: {shown(value)} is not valid Unicode text") from None
    elif type(value) is int:
        if value.bit_length() > 3 * MAX_NUMBER_CHARACTERS:  # below 10^MAX_NUMBER_CHARACTERS
            raise ScheduleError(
                f"{where}: a number of {value.bit_length()} bits is too large for a schedule file"
            )
    elif type(value) is float:
        if not math.isfinite(value):
            raise ScheduleError(f"{where}: {value} is not a finite number")
    elif type(value) not in (bool, type(None)):
        raise ScheduleError(
            f"{where}: only plain data goes into a schedule file (dict, list, str, int, float, bool, None), "
            f"not a {type(value).__name__}: {shown(value)}"
        )
    return 1
