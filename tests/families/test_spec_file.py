"""Families as YAML files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ecad.errors import ModelError
from ecad.families import FAMILIES, BlockList, Component, Family, register, unregister
from ecad.families.family import Sizes
from ecad.families.registry import is_shipped, use
from ecad.families.spec_file import dump_family, load_family, parse_family

TEXT = """\
ecad_family: 1
name: toy
transformer_classes: [ToyTransformer]
block_lists:
  - name: blocks
    count_key: depth
    path: blocks.*.inner
    components:
      - {name: attn, kind: joint_attention, feeds: out}
      - {name: out, kind: projection}
  - name: layers
    count_key: num_layers
    components:
      - {name: mlp, kind: feed_forward, missing_in: [0, -1]}
sizes: {text_tokens: 77}
guidance_setting: true_cfg_scale
"""
TOY = Family(
    "toy",
    ("ToyTransformer",),
    (
        BlockList(
            "blocks",
            "depth",
            (Component("attn", "joint_attention", feeds="out"), Component("out", "projection")),
            path="blocks.*.inner",
        ),
        BlockList("layers", "num_layers", (Component("mlp", "feed_forward", missing_in=(0, -1)),)),
    ),
    Sizes(77),
    guidance_setting="true_cfg_scale",
)


def test_a_file_by_hand() -> None:
    assert parse_family(TEXT, "toy.yaml") == TOY


def test_what_is_written_is_written_so() -> None:
    assert dump_family(TOY) == "\n".join(
        [
            "# ecad family: which blocks a transformer has, and which of their modules can be cached.",
            *TEXT.splitlines(),
            "",
        ]
    )


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_shipped_family_comes_back(name: str) -> None:
    family = FAMILIES[name]
    text = dump_family(family)
    assert parse_family(text, name) == replace(family, presets=(), formulas=None)
    assert dump_family(parse_family(text, name)) == text


def test_notes_are_comments() -> None:
    notes = {(): "one\ntwo", ("layers",): "three", ("blocks", "out"): "four"}
    text = dump_family(TOY, notes)
    assert parse_family(text, "toy.yaml") == TOY
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    assert comments[1:] == ["# one", "# two", "# four", "# three"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ecad_family: 1\n", "", "line 1: not a family of ecad: the key 'ecad_family'"),
        ("ecad_family: 1", "ecad_family: 2", "line 1: format version 2, but this ecad reads only 1"),
        ("name: toy\n", "", "the key 'name' is missing"),
        ("name: toy\n", 'name: ""\n', "line 2: the name is empty"),
        ("[ToyTransformer]", "[]", "line 3: transformer_classes is empty"),
        ("[ToyTransformer]", "ToyTransformer", "transformer_classes must be a list"),
        ("depth", "12", "count_key of block list must be text, not 12"),
        (
            "joint_attention",
            "joint_atention",
            "line 9: unknown kind 'joint_atention' of component, did you mean",
        ),
        ("kind: projection", "kind: convolution", "expected one of self_attention, cross_attention"),
        ("missing_in", "mising_in", "unknown key 'mising_in', did you mean 'missing_in'?"),
        ("[0, -1]", "[0, x]", "missing_in must be a whole number from"),
        ("feeds: out", "feeds: mlp", "'attn' must come before the component it feeds ('mlp')"),
        ("{name: out", "{name: mlp", "'attn' must come before the component it feeds ('out')"),
        (
            ", feeds: out}\n      - {name: out,",
            "}\n      - {name: attn,",
            "component 'attn' of blocks: each needs a name",
        ),
        ("name: layers", "name: blocks", "line 11: block list 'blocks': each needs a name of its own"),
        ("blocks.*.inner", "blocks.inner", "the path 'blocks.inner' must have one * for a block's number"),
        ("true_cfg_scale", "scale", "guidance_setting must be guidance_scale or true_cfg_scale, not 'scale'"),
        ("{text_tokens: 77}", "{}", "sizes: the key 'text_tokens' is missing"),
        ("{text_tokens: 77}", "{text_tokens: many}", "must be a whole number"),
        ("guidance_setting", "presets", "unknown key 'presets'"),
        ("name: toy", "name: !!python/name:os.system", "tags such as"),
    ],
)
def test_mistakes_are_one_clear_line(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ModelError) as raised:
        parse_family(TEXT.replace(old, new, 1), "toy.yaml")
    assert message in str(raised.value)
    assert str(raised.value).startswith("toy.yaml")
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read the family file .*none.yaml: No such file"):
        load_family(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe4")
    with pytest.raises(ModelError, match=r"latin.yaml: not UTF-8 text"):
        load_family(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ModelError, match="too large for a family"):
        load_family(tmp_path / "large.yaml")


def test_a_file_is_registered(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(TEXT)
    register(tmp_path / "toy.yaml")
    try:
        assert FAMILIES["toy"] == TOY
        assert not is_shipped(TOY)
        use(TOY)
        with pytest.raises(ModelError, match="cannot register the family 'toy': 'toy' is known already"):
            use(replace(TOY, sizes=Sizes(78)))
    finally:
        unregister("toy")
    assert is_shipped(FAMILIES["pixart"])
