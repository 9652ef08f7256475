"""A file of JSON lines that is only ever appended to; every line is on the disk before work goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from ecad.errors import RunError

Item = TypeVar("Item")
Record = Mapping[str, Any]


class JsonLines(Generic[Item]):
    """The file, open for appending, and what its records say: `items`, each made by `parse`.

    `parse` raises KeyError, TypeError or ValueError on what is not such a record. `remedy` ends the error of a failed
    write. A last line whose writing was cut off is dropped: what it was about is simply done again.
    """

    def __init__(self, path: Path, parse: Callable[[Record], Item], remedy: str) -> None:
        self._path = path
        self._parse = parse
        self._remedy = remedy
        self._file: IO[bytes] | None = None
        self.items: list[Item] = []
        try:
            end = 0
            if path.exists():
                for item, item_end in _whole_lines(path, parse):
                    self.items.append(item)
                    end = item_end
            self._file = path.open("ab")
            self._file.truncate(end)
        except OSError as error:
            raise RunError(f"cannot open {path}: {error.strerror}") from error

    def append(self, record: Record) -> Item:
        """Write one record and wait until it is on the disk."""
        if self._file is None:
            raise RunError(f"{self._path} is closed")
        line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
        position = self._file.tell()
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._undo(position)
            raise RunError(f"cannot write {self._path}: {error.strerror}; {self._remedy}") from error
        self.items.append(self._parse(record))
        return self.items[-1]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _undo(self, position: int) -> None:
        """After a failed write: forget what is buffered and cut the file back to the last whole record."""
        if self._file is not None:
            descriptor = os.dup(self._file.fileno())
            with contextlib.suppress(OSError):  # closing writes what is buffered, which is to be dropped
                self._file.close()
            os.ftruncate(descriptor, position)
            os.close(descriptor)
            self._file = None


def read_json_lines(path: Path, parse: Callable[[Record], Item]) -> Iterator[Item]:
    """What every whole line says, without taking the file; a torn last line is left out, as is a missing file."""
    if path.is_file():
        for item, _ in _whole_lines(path, parse):
            yield item


def _whole_lines(path: Path, parse: Callable[[Record], Item]) -> Iterator[tuple[Item, int]]:
    """(item, offset of its end in bytes) of every whole line."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a JSON object")
                item = parse(record)
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path} is damaged at line {number}: {type(error).__name__} {error}"
                ) from None
            yield item, end
