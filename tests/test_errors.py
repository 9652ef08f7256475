"""How an error is told in one line."""

from __future__ import annotations

from ecad.errors import ConfigError, describe, first_line, one_line


def test_the_first_line_tells() -> None:
    assert first_line(ValueError("  out of\tmemory \nand a traceback")) == "out of memory"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(RuntimeError("x" * 1000)) == "x" * 160
    # Ours are one line with the remedy at its end: nothing of it is cut off.
    assert first_line(ConfigError("y" * 1000)) == "y" * 1000


def test_with_its_class() -> None:
    assert describe(OSError("no route")) == "OSError: no route"
    assert describe(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_any_text_is_one_line() -> None:
    assert one_line("a\nname \u2028 with  everything") == "a name with everything"
