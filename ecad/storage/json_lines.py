"""A file of JSON lines that is only ever appended to; every line is on the disk before work goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ecad.errors import RunError


class JsonLines:
    """The file, open for appending, with the records that it held when it was opened.

    A last line whose writing was cut off is dropped: what it was about is simply done again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.records: list[dict[str, Any]] = []
        try:
            end = 0
            if path.exists():
                for record, record_end in read_json_lines(path):
                    self.records.append(record)
                    end = record_end
            self._file = path.open("ab")
            self._file.truncate(end)
        except OSError as error:
            raise RunError(f"cannot open {path}: {error.strerror}") from error

    def append(self, record: Mapping[str, Any]) -> None:
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
            raise RunError(
                f"cannot write {self._path}: {error.strerror}; all earlier results are safe, run the same command "
                "again later"
            ) from error
        self.records.append(dict(record))

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


def read_json_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, offset of its end in bytes) of every whole line; a torn last line is left out."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
            except ValueError as error:
                raise RunError(
                    f"{path} is damaged at line {number}: {type(error).__name__} {error}"
                ) from None
            if not isinstance(record, dict):
                raise RunError(f"{path} is damaged at line {number}: not a JSON object")
            yield record, end
