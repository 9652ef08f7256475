"""`ecad families`: what ecad can do with which transformer class."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ecad.cli.main import main
from ecad.families import FAMILIES, BlockList, Component, Family, register, unregister
from ecad.families.family import Sizes


@pytest.fixture
def families(capsys: Any, monkeypatch: Any) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ecad", "families", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return str(capsys.readouterr().out)

    return run


def test_every_family_is_listed_with_what_it_has(families: Callable[..., str]) -> None:
    found = {each.pop("family"): each for each in json.loads(families("--json"))}
    assert set(found) == set(FAMILIES)
    assert found["pixart"] == {
        "transformer_classes": ["PixArtTransformer2DModel"],
        "components": {"transformer_blocks": ["attn1", "attn2", "ff"]},
        "level": "complete",
        "fast_path": True,
        "summed_runs": True,
    }
    assert found["flux"]["fast_path"]
    assert not found["flux"]["summed_runs"]
    assert found["flux"]["components"]["single_transformer_blocks"] == ["attn", "proj_mlp", "proj_out"]


def test_a_narrow_terminal_cuts_no_names(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["ecad", "families"])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().out.splitlines()
    for family in FAMILIES.values():
        assert any(
            line.startswith(f"{family.name} (") and family.transformer_classes[0] in line for line in lines
        )
        for each in family.block_lists:
            assert f"    {each.name}: {', '.join(each.component_names)}" in lines


def test_a_family_of_the_same_components_has_no_fast_path_by_that(families: Callable[..., str]) -> None:
    """Components of the same names say nothing: the blocks must be those that the code was written for."""
    components = (
        Component("attn1", "self_attention"),
        Component("attn2", "cross_attention"),
        Component("ff", "feed_forward"),
    )
    blocks = BlockList("transformer_blocks", "num_layers", components)
    # HunyuanDiT has neither PixArt's block nor imports it; the other class is in no diffusers.
    family = Family("namesake", ("HunyuanDiT2DControlNetModel", "NobodysTransformer"), (blocks,), Sizes(8))
    register(family)
    try:
        found = {each["family"]: each for each in json.loads(families("--json"))}
    finally:
        unregister("namesake")
    assert found["namesake"]["level"] == "known"
    assert not found["namesake"]["fast_path"]
    assert not found["namesake"]["summed_runs"]


def test_the_table_names_every_class(families: Callable[..., str]) -> None:
    text = families()
    for family in FAMILIES.values():
        for name in (family.name, *family.transformer_classes):
            assert name in text
