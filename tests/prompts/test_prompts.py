"""Prompt sets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ecad.errors import ConfigError
from ecad.prompts import PromptSet, check_disjoint, load_prompts, prompt_set
from ecad.prompts.prompt_set import MAX_PROMPT_CHARACTERS

PARTI = 'Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\na "red" car\tVehicles\tBasic\t\n'
IMAGE_REWARD = [{"id": "1", "prompt": "a vehicle"}, {"id": "2", "prompt": "a desolate\nspace"}]
MJHQ = {
    "a0": {"category": "animals", "prompt": "a fox"},
    "b1": {"category": "people", "prompt": "a baker"},
    "c2": {"category": "animals", "prompt": "an owl"},
}
COCO = {
    "info": {},
    "images": [{"id": 7}, {"id": 8}],
    "annotations": [
        {"image_id": 8, "id": 1, "caption": "A dog. \n"},
        {"image_id": 7, "id": 2, "caption": "A cat."},
        {"image_id": 8, "id": 3, "caption": "Another dog."},
    ],
}


def of(tmp_path: Path, content: str | Any, name: str = "mine.txt", **arguments: Any) -> PromptSet:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_prompts(str(path), **arguments)


def test_text_files(tmp_path: Path) -> None:
    text = "\ufeff# a comment\na cat\n\n  a dog  \na cat\n"
    prompts = of(tmp_path, text)
    assert prompts.prompts == ("a cat", "a dog")
    assert (prompts.name, prompts.skipped) == ("mine", 3)
    assert prompts.left_out == {"comments": 1, "empty": 1, "duplicated": 1}
    assert prompts.sha256 == hashlib.sha256(b"a cat\na dog").hexdigest()
    assert prompts.describe() == (
        f"mine: 2 prompts (text), sha256 {prompts.sha256[:12]}; left out: 1 comments, 1 empty, 1 duplicated"
    )
    assert of(tmp_path, text, limit=1).prompts == ("a cat",)
    assert of(tmp_path, text, limit=1).sha256 != prompts.sha256


@pytest.mark.parametrize(
    ("content", "format_name", "expected", "left_out"),
    [
        (PARTI, "tab-separated table", ("bond", 'a "red" car'), {}),
        ('Prompts,Category\n"a car, red",Colors\n,Colors\n', "comma-separated table", ("a car, red",), {"empty": 1}),
        (IMAGE_REWARD, "ImageReward JSON", ("a vehicle", "a desolate space"), {}),
        ([{"prompt": None}, {"prompt": "x"}, 3], "ImageReward JSON", ("x",), {"without a prompt": 2}),
        (["a", "b", "a"], "JSON list", ("a", "b"), {"duplicated": 1}),
        (MJHQ, "MJHQ-30K JSON", ("a fox", "a baker", "an owl"), {}),
        (COCO, "COCO JSON", ("A dog.", "A cat."), {"further captions of an image": 1}),
        ("[a cat] with brackets\n{a} dog\n", "text", ("[a cat] with brackets", "{a} dog"), {}),
        ("a cat, a prompt\n", "text", ("a cat, a prompt",), {}),
    ],
)  # fmt: skip
def test_formats_are_recognised_by_their_content(
    tmp_path: Path, content: Any, format_name: str, expected: tuple[str, ...], left_out: dict[str, int]
) -> None:
    prompts = of(tmp_path, content, "any.name")
    assert (prompts.format, prompts.prompts, prompts.left_out) == (format_name, expected, left_out)


def test_categories(tmp_path: Path) -> None:
    assert of(tmp_path, MJHQ).categories == ("animals", "people", "animals")
    assert of(tmp_path, PARTI).categories == ("Abstract", "Vehicles")
    animals = of(tmp_path, MJHQ, "mjhq.json", category="animals", limit=1)
    assert (animals.name, animals.prompts, animals.categories) == ("mjhq/animals", ("a fox",), ("animals",))
    with pytest.raises(ConfigError, match="no category 'cars': it has animals, people"):
        of(tmp_path, MJHQ, category="cars")
    with pytest.raises(ConfigError, match="no category 'cars': it has no categories"):
        of(tmp_path, "a cat\n", category="cars")


def test_over_long_prompts_are_left_out_and_said(tmp_path: Path) -> None:
    longest = "x" * MAX_PROMPT_CHARACTERS
    prompts = of(tmp_path, f"{longest}\n{longest}y\na cat\n")
    assert prompts.prompts == (longest, "a cat")
    assert prompts.left_out == {"longer than 2000 characters": 1}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ('[{"prompt": "a"}', "x.txt", "not valid JSON: .* in line 1"),
        ("a cat\n", "x.json", "not valid JSON: Expecting value in line 1"),
        ([{"text": "a"}], "x.json", r'no prompt format that ecad knows \(it holds {"text": "a"}\)'),
        ({"a": 1}, "x.json", "no prompt format that ecad knows"),
        ("3", "x.json", "no prompt format that ecad knows"),
        ({"annotations": [{"bbox": [1]}]}, "x.json", "COCO file without captions"),
        (
            "id\ttext\n1\ta cat\n",
            "x.tsv",
            r"a table .* none of its columns \['id', 'text'\] is called Prompt",
        ),
        ("<!DOCTYPE html>\n<p>", "x.txt", "is an HTML page .* download the raw file"),
        ("version https://git-lfs.github.com/spec/v1\n", "x.json", "Git LFS pointer"),
        ("a\0b", "x.txt", "is a binary file"),
        ("# nothing\n\n", "empty.txt", "'empty' has no prompts: 1 comments, 1 empty"),
        ("", "empty.txt", "'empty' has no prompts: it is empty"),
        ("[]", "empty.json", "'empty' has no prompts: it is empty"),
        ("Prompt\tCategory\n", "empty.tsv", "'empty' has no prompts: it is empty"),
    ],
)
def test_wrong_files_are_one_clear_line(tmp_path: Path, content: Any, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        of(tmp_path, content, name)
    assert "\n" not in str(caught.value)
    assert name.partition(".")[0] in str(caught.value)


def test_the_fields_own_files(shared_folder: Path) -> None:
    folder = shared_folder / "official" / "prompts"
    found = {path.name: load_prompts(str(path)) for path in sorted(folder.iterdir())}
    assert {name: (each.format, len(each), each.skipped) for name, each in found.items()} == {
        "COCO_captions_head.txt": ("text", 60, 0),
        "DrawBench_head.txt": ("text", 40, 0),
        "ImageRewardPrompts.json": ("ImageReward JSON", 100, 0),
        "PartiPrompts_head.tsv": ("tab-separated table", 40, 0),
    }
    parti = found["PartiPrompts_head.tsv"]
    assert parti.prompts[0] == "bond"
    assert set(parti.categories or ()) >= {"Abstract", "Vehicles"}
    assert found["ImageRewardPrompts.json"].prompts[0] == "a concept art of a vehicle, cyberpunk"


def test_bundled_sets_are_disjoint() -> None:
    search, heldout = load_prompts("scenes-search"), load_prompts("scenes-heldout")
    assert (len(search), len(heldout)) == (384, 192)
    check_disjoint(search, heldout)


def test_ecad_100_is_as_its_note_says() -> None:
    prompts = load_prompts("ecad-100")
    assert len(prompts) == 100
    assert set(prompts.left_out) == {"comments"}  # no duplicates, nothing too long
    words = [len(prompt.split()) for prompt in prompts.prompts]
    lengths = Counter(
        "to 4" if n <= 4 else "to 10" if n <= 10 else "to 16" if n <= 16 else "more" for n in words
    )
    assert lengths == {"to 4": 8, "to 10": 44, "to 16": 44, "more": 4}
    assert max(words) == 39


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no prompt file 'nowhere.txt'.*scenes-search"):
        load_prompts("nowhere.txt")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match="not a UTF-8 text file"):
        load_prompts(str(path))
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        prompt_set("x", ["a"], limit=0)
    with pytest.raises(ConfigError, match="1 held-out prompts are also search prompts, for example 'b'"):
        check_disjoint(prompt_set("x", ["a", "b"]), prompt_set("y", ["b", "c"]))
    with pytest.raises(ConfigError, match="must be disjoint"):
        check_disjoint(prompt_set("x", ["a  Red cat"]), prompt_set("y", ["A red cat"]))
