"""Where the components of a family are looked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from ecad.caching.modules import blocks_of, component_modules, named_components
from ecad.errors import ModelError
from ecad.families import BlockList, Component, Family
from ecad.families.family import Sizes


class Block(nn.Module):
    def __init__(self, has_ff: bool = True) -> None:
        super().__init__()
        self.attn = nn.Linear(2, 2)
        self.net = nn.ModuleDict({"ff": nn.Linear(2, 2)} if has_ff else {})


class Wrapped(nn.Module):
    """Blocks inside wrappers inside a stack, as HiDream has them; the last has no feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Module()
        self.stack.layers = nn.ModuleList(
            nn.ModuleDict({"block": Block(has_ff=index < 2)}) for index in range(3)
        )


BLOCKS = BlockList(
    "layers",
    "n",
    (Component("attn", "self_attention"), Component("net.ff", "feed_forward", missing_in=(-1,))),
    path="stack.layers.*.block",
)
FAMILY = Family("wrapped", ("Wrapped",), (BLOCKS,), Sizes(1))


def test_blocks_are_found_where_the_path_says() -> None:
    model = Wrapped()
    assert blocks_of(model, BLOCKS) == [wrapper["block"] for wrapper in model.stack.layers]
    found = component_modules(model, FAMILY)
    assert list(found) == [
        ("layers", 0, 0),
        ("layers", 0, 1),
        ("layers", 1, 0),
        ("layers", 1, 1),
        ("layers", 2, 0),
    ]
    assert found["layers", 1, 1] is model.stack.layers[1]["block"].net["ff"]
    assert [name for name, _ in named_components(model, FAMILY)][-2:] == [
        "layers[1].net.ff",
        "layers[2].attn",
    ]


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="Wrapped has no blocks at 'layers'"):
        blocks_of(Wrapped(), replace(BLOCKS, path=""))
    everywhere = replace(BLOCKS, components=(Component("net.ff", "feed_forward"),))
    with pytest.raises(ModelError, match=r"layers\[2\] has no component 'net.ff' to cache"):
        component_modules(Wrapped(), replace(FAMILY, block_lists=(everywhere,)))
