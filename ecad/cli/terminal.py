"""What commands write reaches every terminal: without UTF-8 in plain characters, never as an error."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_HANDLER = "ecad.plain"

# What ecad's and rich's own output holds beyond ASCII. Boxes and bars rich replaces itself.
_PLAIN = {
    "–": "-",
    "—": "-",
    "…": ".",
    "±": "+-",
    "↑": "^",
    "↓": "v",
    "→": "->",
    "×": "x",
    "·": ".",
    "•": "*",
}
_PLAIN |= {"█": "#", "▏": "|", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "‘": "'", "’": "'"}
_PLAIN |= {character: str(level) for level, character in enumerate("▁▂▃▄▅▆▇", start=1)}


def use_plain_characters() -> None:
    """From now on a character that standard output or error cannot write is replaced by one like it, or by "?"."""
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_like, error.object[error.start : error.end])), error.end


def _like(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    # An accent is left out; half of a file name that is no text has nothing like it.
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
