"""JSON as other people's schedules have it: no duplicate keys, no NaN, and one line for every mistake."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ecad.errors import ScheduleError
from ecad.yaml_nodes import shown


def parse_json(text: str) -> Any:
    """The value in a text. ScheduleError for every mistake, with its line where there is one."""

    def refuse_constant(constant: str) -> NoReturn:
        raise ScheduleError(f"not valid JSON: {constant} is not a number")

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ScheduleError(f"the key {shown(twice)} occurs twice in one object")
        return result

    try:
        return json.loads(
            text.lstrip("\ufeff"), parse_constant=refuse_constant, object_pairs_hook=without_duplicates
        )
    except json.JSONDecodeError as error:
        raise ScheduleError(
            f"line {error.lineno}: not valid JSON: {error.msg} (column {error.colno})"
        ) from None
    except RecursionError:
        raise ScheduleError("nested too deeply: this is no schedule") from None
    except ValueError:  # Python's limit on the digits of a whole number
        raise ScheduleError("a number has too many digits: this is no schedule") from None
