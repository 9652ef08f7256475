"""Files that are either the old or the new version, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives the name of a file beside `path` to write; at the end, and only without an error, it becomes `path`.

    The name is nobody else's, so several processes and machines may write the same file: one wins as a whole.
    `durable` waits until the content is on the disk, so that the file is whole after a crash of the machine, too.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file's content, all or nothing."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file's content by this text, in UTF-8 with plain line ends."""
    write_bytes(path, text.encode("utf-8"), durable=durable)
