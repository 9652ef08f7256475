"""A folder that one process at a time works in, with its log."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from filelock import FileLock, Timeout

from ecad.atomic import write_bytes, write_text
from ecad.errors import RunError


class Closable(Protocol):
    def close(self) -> None: ...


Log = TypeVar("Log", bound=Closable)
Folder = TypeVar("Folder", bound="LockedFolder[Any]")


class LockedFolder(ABC, Generic[Log]):
    """A folder of results. Reading needs nothing; entering it gives the right to write and opens the log."""

    kind: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
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
            self.path.mkdir(parents=True, exist_ok=True)
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
            self._lock.release()
            self._lock = None

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
