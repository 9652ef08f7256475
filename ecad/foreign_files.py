"""What people hand over by mistake instead of the file that they mean, told by how it starts."""

from __future__ import annotations

_KINDS = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: fetch it with git lfs pull"),
    (b"<!doctype html", "is an HTML page and not the file itself: download the raw file"),
    (b"<html", "is an HTML page and not the file itself: download the raw file"),
    (b"%pdf-", "is a PDF document: save its text as a UTF-8 text file"),
    (b"{\\rtf", "is a rich text document: save it as plain text, UTF-8"),
    (b"pk\x03\x04", "is a ZIP archive or a spreadsheet: unpack it, or save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "is an old Office document: save it as text or CSV, UTF-8"),
    (b"\x1f\x8b", "is compressed: unpack it with gunzip"),
    (b"(\xb5/\xfd", "is compressed: unpack it with unzstd"),
    (
        b"par1",
        "is a Parquet file: save it as JSON Lines (read_parquet(FILE).to_json(NEW, orient='records', lines=True))",
    ),
)
LONGEST_START = 512  # bytes that are enough to tell


def mistaken_for(start: bytes) -> str | None:
    """What a file is, and what to do, from its first bytes ("is an HTML page: ..."); None if nothing is known."""
    seen = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:LONGEST_START].lower()
    return next((what for sign, what in _KINDS if seen.startswith(sign)), None)
