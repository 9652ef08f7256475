"""A folder that one process at a time works in, with its log."""

from __future__ import annotations

import contextlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from filelock import FileLock, Timeout

from ecad.atomic import write_bytes, write_text
from ecad.errors import ConfigError, ModelError, RunError, ScheduleError


class Closable(Protocol):
    def close(self) -> None: ...


# What stays in a new folder even if its settings are refused: logs, and features that may have taken an hour.
_WORTHY = (".jsonl", ".npy")

Log = TypeVar("Log", bound=Closable)
Folder = TypeVar("Folder", bound="LockedFolder[Any]")


class LockedFolder(ABC, Generic[Log]):
    """A folder of results. Reading needs nothing; entering it gives the right to write and opens the log.

    What refuses its settings leaves no trace: a folder that was made here is gone afterwards if nothing was written
    into it, or if the input turned out to be wrong before the log had its first record.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []  # the folders that entering it made, the innermost first
        self._was_empty = False
        self._lock: FileLock | None = None
        self._log: Log | None = None

    @abstractmethod
    def _open_log(self) -> Log:
        """The log, open for writing."""

    @property
    def log(self) -> Log:
        if self._log is None:
            raise RunError(f"{self.kind} {self.path} is not open for writing")
        return self._log

    def __enter__(self: Folder) -> Folder:
        try:
            self._made = [each for each in (self.path, *self.path.parents) if not each.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            self._was_empty = not any(self.path.iterdir())
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise RunError(f"{self.kind} {self.path} is in use by another process") from None
        except OSError as error:
            raise RunError(f"cannot write to {self.kind} {self.path}: {error.strerror}") from error
        self._lock = lock
        try:
            self._log = self._open_log()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._lock is not None:
            if self._was_empty:
                self._leave_no_trace(isinstance(error, (ConfigError, ModelError, ScheduleError)))
            self._lock.release()
            self._lock = None

    def _leave_no_trace(self, is_refusal: bool) -> None:
        """Take away what entering the folder made, if nothing else came into it, or at a refusal nothing of worth."""
        files = [file for file in self.path.rglob("*") if file.is_file()]
        worthy = [file for file in files if not is_refusal or file.suffix in _WORTHY]
        if any(file.stat().st_size > 0 for file in worthy):
            return
        with contextlib.suppress(OSError):  # a folder that others use by now stays
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for folder in self._made:
                folder.rmdir()

    def write_text(self, name: str, text: str) -> None:
        """Replace a file in the folder; after a crash it is whole."""
        try:
            write_text(self.path / name, text)
        except OSError as error:
            raise RunError(f"cannot write {self.path / name}: {error.strerror}") from error

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file in the folder, its own folder made if need be; after a crash the file is whole."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, content)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write_text(name, json.dumps(content, indent=1, allow_nan=False) + "\n")
