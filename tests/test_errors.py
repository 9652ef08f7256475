"""How an error is told in one line."""

from __future__ import annotations

from ecad.errors import ConfigError, all_lines, describe, first_line, one_line


def test_the_first_line_tells() -> None:
    assert first_line(ValueError("  out of\tmemory \nand a traceback")) == "out of memory"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(RuntimeError("x" * 1000)) == "x" * 1000


def test_with_its_class() -> None:
    assert describe(OSError("no route")) == "OSError: no route"
    assert describe(RuntimeError("x" * 1000)) == "RuntimeError: " + "x" * 160
    # Ours are one line with the remedy at its end: nothing of it is cut off.
    assert describe(ConfigError("y" * 1000)) == "ConfigError: " + "y" * 1000
    assert describe(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_all_that_it_says() -> None:
    """torch's first line of a wrong state_dict says only that there are errors."""
    error = RuntimeError("Error(s) in loading state_dict for Linear:\n\tMissing key(s): weight")
    assert (
        all_lines(error) == "RuntimeError: Error(s) in loading state_dict for Linear: Missing key(s): weight"
    )
    assert all_lines(ValueError("x " * 1000)) == "ValueError: " + "x " * 80
    assert all_lines(ValueError()) == "ValueError"


def test_any_text_is_one_line() -> None:
    assert one_line("a\nname \u2028 with  everything") == "a name with everything"
