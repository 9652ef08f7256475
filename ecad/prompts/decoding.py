"""From the bytes of a prompt file to its text: UTF-8, or what its byte-order mark says. Nothing is guessed."""

from __future__ import annotations

import codecs

from ecad.foreign_files import mistaken_for
from ecad.prompts.records import PromptFileMistake

_MARKS = (  # UTF-32's first: that of its little-endian form starts like UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_BINARY = "is a binary file and no prompt file, or UTF-16 without a byte-order mark: save it as UTF-8"


def decode(content: bytes) -> str:
    """The text without its byte-order mark. Raises PromptFileMistake for what is no text, or in another encoding."""
    mistake = mistaken_for(content[:1024])
    if mistake is not None:
        raise PromptFileMistake(mistake)
    mark, encoding = next((each for each in _MARKS if content.startswith(each[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in content and not mark:
            raise PromptFileMistake(_BINARY) from None
        line = content[len(mark) :][: error.start].decode(encoding, "replace").count("\n") + 1
        raise PromptFileMistake(
            f"is not a {encoding.upper()} text file: {error.reason} in line {line} (byte {error.start + len(mark)}): "
            "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from None
    if "\0" in text:
        raise PromptFileMistake(_BINARY)
    return text
