"""Prompt sets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ecad.errors import ConfigError
from ecad.evaluation.prompts import check_disjoint, load_prompts, prompt_set


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# a comment\na cat\n\n  a dog  \na cat\n", encoding="utf-8")
    prompts = load_prompts(str(path))
    assert prompts.prompts == ("a cat", "a dog")
    assert (prompts.name, prompts.skipped) == ("mine", 3)
    assert prompts.sha256 == hashlib.sha256(b"a cat\na dog").hexdigest()
    assert load_prompts(str(path), limit=1).prompts == ("a cat",)
    assert load_prompts(str(path), limit=1).sha256 != prompts.sha256


def test_bundled_sets_are_disjoint() -> None:
    search, heldout = load_prompts("scenes-search"), load_prompts("scenes-heldout")
    assert (len(search), len(heldout)) == (96, 192)
    check_disjoint(search, heldout)


def test_ecad_100() -> None:
    prompts = load_prompts("ecad-100")
    assert len(prompts) == 100
    assert len({len(prompt.split()) for prompt in prompts.prompts}) > 15  # mixed lengths


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no prompt file 'nowhere.txt'.*scenes-search"):
        load_prompts("nowhere.txt")
    path = tmp_path / "empty.txt"
    path.write_text("# nothing\n\n")
    with pytest.raises(ConfigError, match="'empty' has no prompts"):
        load_prompts(str(path))
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match="not a UTF-8 text file"):
        load_prompts(str(path))
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        prompt_set("x", ["a"], limit=0)
    with pytest.raises(ConfigError, match="1 held-out prompts are also search prompts, for example 'b'"):
        check_disjoint(prompt_set("x", ["a", "b"]), prompt_set("y", ["b", "c"]))
    with pytest.raises(ConfigError, match="must be disjoint"):
        check_disjoint(prompt_set("x", ["a  Red cat"]), prompt_set("y", ["A red cat"]))
