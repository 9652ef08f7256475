"""What a family says of its blocks, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ecad.errors import ModelError
from ecad.families import FAMILIES, PRESETS, BlockList, Component, Family, get_family, register, unregister
from ecad.families.family import Sizes
from ecad.families.registry import find_preset

TOY = Family(
    name="toy",
    transformer_classes=("ToyTransformer2DModel", "ToyTransformer3DModel"),
    block_lists=(
        BlockList(
            "blocks",
            "num_blocks",
            (
                Component("attn", "self_attention"),
                Component("cross", "cross_attention", missing_in=(0, 2)),
                Component("ff", "feed_forward", missing_in=(-1,)),
            ),
            path="outer.*.inner",
        ),
    ),
    sizes=Sizes(text_tokens=10),
)


def test_which_blocks_have_a_component() -> None:
    [blocks] = TOY.block_lists
    assert blocks.present(4) == (
        (True, False, True),
        (True, True, True),
        (True, False, True),
        (True, True, False),
    )
    assert [blocks.count_of(name, 4) for name in blocks.component_names] == [4, 2, 3]
    assert blocks.present(1) == ((True, False, False),)


def test_descriptions_that_cannot_be_right() -> None:
    with pytest.raises(ModelError, match=r"'attn' must come before the component it feeds \('proj'\)"):
        BlockList("blocks", "n", (Component("proj", "projection"), Component("attn", "x", feeds="proj")))
    feeder = Component("attn", "x", feeds="proj")
    last_only = Component("proj", "projection", missing_in=(0,))
    with pytest.raises(
        ModelError, match=r"'attn' feeds 'proj', and so must be missing in every block.*\[0\]"
    ):
        BlockList("blocks", "n", (feeder, last_only))
    with pytest.raises(ModelError, match=r"the path 'a.b' must have one \* for a block's number"):
        BlockList("blocks", "n", (), path="a.b")
    with pytest.raises(ModelError, match="ToyTransformer2DModel or ToyTransformer3DModel must have the key"):
        TOY.block_counts({})


def test_families_are_registered_and_forgotten() -> None:
    preset = replace(PRESETS["pixart-mini"], name="toy-mini", family="toy", aliases=("toy-64",))
    register(replace(TOY, presets=(preset,)))
    try:
        assert get_family("toy").transformer_classes[1] == "ToyTransformer3DModel"
        assert find_preset("toy-64") is preset
        with pytest.raises(ModelError, match="cannot register the family 'toy': 'toy' is known already"):
            register(TOY)
    finally:
        unregister("toy")
    assert "toy" not in FAMILIES
    assert find_preset("toy-64") is None


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (replace(TOY, transformer_classes=("FluxTransformer2DModel",)), "'FluxTransformer2DModel' is known"),
        (replace(TOY, presets=(replace(PRESETS["flux-dev"], family="toy"),)), "'flux-dev' is known already"),
        (
            replace(TOY, presets=(replace(PRESETS["flux-dev"], name="x", aliases=()),)),
            "'x' is of another family",
        ),
        (
            replace(
                TOY,
                presets=(
                    replace(PRESETS["flux-dev"], name="x", aliases=("y",), family="toy"),
                    replace(PRESETS["flux-dev"], name="y", aliases=(), family="toy"),
                ),
            ),
            "'y' is known already",
        ),
    ],
)
def test_what_is_taken_is_refused(family: Family, message: str) -> None:
    before = (dict(FAMILIES), dict(PRESETS))
    with pytest.raises(ModelError, match=message):
        register(family)
    assert before == (FAMILIES, PRESETS)


@pytest.mark.parametrize(
    ("family", "config", "value", "expected"),
    [
        ("pixart", {}, 4.5, True),
        ("pixart", {}, 1.0, False),
        ("pixart", {}, None, True),  # what its pipelines do by themselves
        ("flux", {"guidance_embeds": True}, 2.0, True),  # of true_cfg_scale
        ("flux", {}, None, False),
        ("zimage", {}, 0.5, True),  # its scale is of the difference to the prompt's own prediction
        ("zimage", {}, 0.0, False),
        ("sana", {"guidance_embeds": False}, 4.5, True),
        ("sana", {"guidance_embeds": True}, 4.5, False),  # Sana-Sprint, whose scale is an input
        ("sana", {"guidance_embeds": True}, None, False),
    ],
)
def test_which_settings_have_guidance_rows(
    family: str, config: dict[str, bool], value: float | None, expected: bool
) -> None:
    assert get_family(family).has_guidance_rows(config, value) is expected
