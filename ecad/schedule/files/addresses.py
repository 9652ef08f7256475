"""Schedule files that lie elsewhere: `hf://owner/name/fast.yaml` and `https://host/fast.yaml#sha256=HEX`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from ecad.errors import ScheduleError, one_line
from ecad.schedule.files.from_hub import hub_file
from ecad.schedule.files.from_web import web_file

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_COLLAPSED = re.compile(r"(hf|https?):/[^/]", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether this is an address and not a file's name; ecad may not know how to read it."""
    return _SCHEME.match(text) is not None


def is_collapsed_address(text: str) -> bool:
    """Whether this was an address before `pathlib.Path` made one slash of two."""
    return _COLLAPSED.match(text) is not None


def address_stem(address: str) -> str:
    """The file's name without its suffix: `fast` of `hf://owner/name/fast.yaml`."""
    path = re.split(r"[?#]", address, maxsplit=1)[0]
    return unquote(PurePosixPath(path).stem)


def fetch(address: str, most_bytes: int) -> tuple[bytes, str]:
    """The content of an address, and what to call it in a message. ScheduleError, one line, if it cannot be had."""
    match = _SCHEME.match(address)
    scheme = match[1].lower() if match else ""
    rest = address[match.end() :] if match else address
    if scheme == "hf":
        return hub_file(rest, most_bytes), one_line(f"hf://{rest}")
    if scheme in ("http", "https"):
        return web_file(f"{scheme}://{rest}", most_bytes)
    raise ScheduleError(
        one_line(
            f"cannot read {address[:100]!r}: a schedule's address is hf://owner/name/PATH or https://HOST/PATH#sha256=HEX"
        )
    )
