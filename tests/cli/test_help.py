"""`--help` of every command, and what the shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import ecad
from ecad.cli import completion
from ecad.cli.groups import EVALUATE, SEARCH
from ecad.cli.main import app

# The options that people need first.
FIRST = {
    "model",
    "generations",
    "out",
    "resume",
    "cost",
    "quality",
    "prompts",
    "heldout_prompts",
    "device",
    "workers",
}


def commands(group: Any = None, name: str = "ecad") -> Iterator[tuple[str, Any]]:
    """(words that call it, command) of every command."""
    group = typer.main.get_command(app) if group is None else group
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_every_command_has_an_example_of_itself() -> None:
    found = list(commands())
    assert len(found) >= 15
    for words, command in found:
        text = command.help
        assert "Examples:" in text, words
        examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
        assert examples, words
        assert all(line.startswith(words) for line in examples), (words, examples)


def test_examples_name_options_that_there_are() -> None:
    for words, command in commands():
        options = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        examples = command.help.partition("Examples:")[2].split()
        used = {word for word in examples if word.startswith("-")}
        assert used <= options, (words, used - options)


def test_the_first_group_of_search_has_what_people_need_first() -> None:
    search = dict(commands())["ecad search"]
    groups: dict[str | None, list[str]] = {}
    for parameter in search.params:
        groups.setdefault(parameter.rich_help_panel, []).append(parameter.name)
    assert set(groups[None]) == FIRST
    assert next(iter(groups)) is None
    assert list(groups)[-1] == "More"
    assert all(len(names) <= 14 for names in groups.values())


@pytest.mark.parametrize(("words", "groups"), [("ecad search", SEARCH), ("ecad evaluate", EVALUATE)])
def test_a_group_is_a_real_option(words: str, groups: dict[str, str]) -> None:
    names = {parameter.name for parameter in dict(commands())[words].params}
    # `ecad evaluate` shares the group of options that say how a model is loaded, and has not all of them.
    assert set(groups) - names <= {"device_map", "embedding_cache"}


def complete(words: str) -> list[str]:
    """What bash would be told."""
    where = Path(ecad.__file__).resolve().parent.parent
    count = len(words.split(" ")) - 1
    environment = {"_ECAD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['ecad']; from ecad.cli.main import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment, "PYTHONPATH": str(where)},
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_names() -> None:
    assert complete("ecad search --model pixart-s") == [
        "pixart-sigma",
        "pixart-sigma-512",
        "pixart-sigma-1024",
    ]
    assert complete("ecad sear") == ["search"]


def test_completions() -> None:
    assert "pixart-mini/fast" in completion.schedules("pixart-mini/")
    assert completion.rows("st") == ["steps:"]
    assert completion.rows("fo") == ["fora:"]
    assert completion.prompts("scenes-s") == ["scenes-search"]
    assert "image-reward" in completion.qualities("")
    assert "fid" not in completion.qualities("")
    assert completion.metrics("psnr,ss") == ["psnr,ssim"]
    assert "psnr,psnr" not in completion.metrics("psnr,p")
    from ecad.schedule import is_heuristic

    assert all(is_heuristic(name) for name in completion.heuristics(""))


def test_brackets_in_help_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecad.cli.main import main

    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["ecad", "search", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "[default: 50]" in capsys.readouterr().out
