"""What `describe` finds in models that ecad knows, without their family's file: the same as stands there."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from conformance.tiny import TinyTransformer, tiny_transformers
from torch import nn

from ecad.caching.modules import component_modules
from ecad.errors import ModelError
from ecad.families import Family, describe, family_of_transformer
from ecad.families.spec_file import parse_family

MODELS = tiny_transformers()

_CROSS = "cross_attention, not joint_attention"
_JOINT = "joint_attention, not self_attention"
_SELF = "self_attention, not joint_attention"

# Where the family says something else than what was found, and why; everything else must be the same.
DIFFERENCES: dict[str, set[str]] = {
    # An attention that joins two streams inside.
    "Cosmos3OmniTransformer": {"layers.*.self_attn: kind self_attention, not joint_attention"},
    # The family is for models without a `txt_ff` as well, where `ff` runs twice; a file from this model need not be.
    "EasyAnimateTransformer3DModel": {"transformer_blocks.*.ff: calls 1, not 2"},
    # Blocks of another module than the transformer, which the family leaves alone.
    "BriaFibo2Transformer2DModel": {
        "has perceiver.layers.*.cross_attention",
        "has perceiver.layers.*.self_attention",
        "has perceiver.layers.*.ffn",
        f"noise_refiner.*.attention: kind {_SELF}",
    },
    # The family is for the models without it, where `proj_out` alone reads the attention.
    "MotifVideoTransformer3DModel-cross": {
        "has transformer_blocks.*.cross_attn",
        "has single_transformer_blocks.*.cross_attn",
        "single_transformer_blocks.*.attn: feeds nothing, not single_transformer_blocks.0.proj_out",
        "single_transformer_blocks.*.attn: feeds nothing, not single_transformer_blocks.1.proj_out",
    },
    # A stream that reads another one is cross attention; these families call picture and sound together joint.
    "LTX2VideoTransformer3DModel": {
        f"transformer_blocks.*.audio_to_video_attn: kind {_CROSS}",
        f"transformer_blocks.*.video_to_audio_attn: kind {_CROSS}",
    },
    **{
        label: {
            f"visual_transformer_blocks.*.av_cross_attention: kind {_CROSS}",
            f"visual_transformer_blocks.*.va_cross_attention: kind {_CROSS}",
            f"visual_transformer_blocks.*.video_dec_block.self_attention: kind {_JOINT}",
        }
        for label in ("Kandinsky6Transformer3DModel", "Kandinsky6Transformer3DModel-gates")
    },
    # One attention over text and picture, which were joined before anything could be seen of them apart.
    "MiniMaxMusic3Transformer1DModel": {f"transformer_blocks.*.attn: kind {_SELF}"},
    "OmniGenTransformer2DModel": {f"layers.*.self_attn: kind {_SELF}"},
    "Ideogram4Transformer2DModel": {f"layers.*.attention: kind {_SELF}"},
    "MiniMaxH3Transformer3DModel": {f"transformer_blocks.*.attn: kind {_SELF}"},
}


class Facts(NamedTuple):
    """What a family says of one module."""

    kind: str
    feeds: str | None
    calls: int


@cache
def built(index: int) -> Any:
    return MODELS[index].build()


def facts(transformer: nn.Module, family: Family) -> dict[str, Facts]:
    """Path in the transformer -> what the family says of the component there, whatever its list is called."""
    paths = {module: path for path, module in transformer.named_modules()}
    modules = component_modules(transformer, family)
    found = {}
    for (name, block, index), module in modules.items():
        block_list = family.block_list(name)
        component = block_list.components[index]
        reader = None
        if component.feeds is not None:
            reader = paths[modules[name, block, block_list.component_names.index(component.feeds)]]
        found[paths[module]] = Facts(component.kind, reader, getattr(component, "calls", 1))
    return found


def without_numbers(path: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in path.split("."))


def differences(found: dict[str, Facts], stated: dict[str, Facts]) -> set[str]:
    """In words, each once for all blocks."""
    result = {f"lacks {without_numbers(path)}" for path in stated.keys() - found.keys()}
    result |= {f"has {without_numbers(path)}" for path in found.keys() - stated.keys()}
    for path in found.keys() & stated.keys():
        for name, one, other in zip(Facts._fields, found[path], stated[path], strict=True):
            if one != other:
                result.add(f"{without_numbers(path)}: {name} {one}, not {other}".replace("None", "nothing"))
    return result


@pytest.mark.parametrize("index", range(len(MODELS)), ids=[each.label for each in MODELS])
def test_it_finds_what_the_family_says(index: int) -> None:
    tiny: TinyTransformer = MODELS[index]
    if not tiny.is_there:
        pytest.skip(f"this diffusers has no {tiny.class_name}")
    transformer = built(index)
    inputs = tiny.inputs(2, 1, 0)
    with torch.no_grad():
        before = transformer(**inputs, return_dict=False)
    description = describe(transformer, lambda: transformer(**inputs))
    assert parse_family(description.to_yaml(), tiny.label) == description.family
    stated = facts(transformer, family_of_transformer(tiny.class_name))
    for name in tiny.unread:  # has no effect, which the forward shows
        del stated[name.replace("[", ".").replace("]", "")]
    assert differences(facts(transformer, description.family), stated) == DIFFERENCES.get(tiny.label, set())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks or module._forward_hooks_with_kwargs
        for module in transformer.modules()
    )
    with torch.no_grad():
        after = transformer(**inputs, return_dict=False)
    assert all(map(torch.equal, flat(before), flat(after)))


def flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for each in value for tensor in flat(each)] if isinstance(value, (tuple, list)) else []


def test_no_statement_is_about_a_class_that_is_not_there() -> None:
    assert all(hasattr(diffusers, label.partition("-")[0]) for label in DIFFERENCES)


# --- made up for the purpose ---


class Attend(nn.Module):
    """An attention as far as its name and its matrix products go."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_out = nn.Linear(width, width)

    def forward(self, states: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        return self.to_out(states if context is None else states + context.mean(1, keepdim=True))


class Inner(nn.Module):
    """self and cross attention, then two linear layers of which one reads the other; and one that is never called."""

    def __init__(self, width: int, has_cross: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(width, 2 * width)
        self.self_attn = Attend(width)
        self.cross_attn = Attend(width) if has_cross else None
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)
        self.idle = nn.Linear(width, width)

    def forward(self, states: torch.Tensor, text: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        gate, scale = self.modulation(temb)[:, None].chunk(2, dim=2)
        states = states + gate * self.self_attn(self.norm(states) * scale)
        if self.cross_attn is not None:
            states = states + self.cross_attn(states, text)
        return states + self.down(torch.relu(self.up(states)))


class Wrapper(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any) -> Any:
        return self.block(*args)


class TwiceBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attend(width)
        self.ff = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.ff(self.attn(states)) + self.ff(states)


class MadeUpModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = {"num_heads": 3, "depth": 3, "num_twice_layers": 2, "patch_size": 2}
        self.stream = nn.ModuleDict({name: Wrapper(Inner(4, name != "c")) for name in "abc"})
        self.twice = nn.ModuleList(TwiceBlock(4) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, states: torch.Tensor, text: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        for block in self.stream.values():
            states = block(states, text, temb)
        for block in self.twice:
            states = block(states)
        return self.heads[0](states)


def made_up() -> tuple[MadeUpModel, Any]:
    torch.manual_seed(0)
    model = MadeUpModel()
    return model, lambda: model(torch.randn(2, 6, 4), torch.randn(2, 3, 4), torch.randn(2, 4))


def test_a_model_that_nobody_knows() -> None:
    model, run = made_up()
    text = describe(model, run).to_yaml()
    lines = [line.strip() for line in text.splitlines() if not line.strip().startswith("#")]
    assert lines == [
        "ecad_family: 1",
        "name: made_up",
        "transformer_classes: [MadeUpModel]",
        "block_lists:",
        "- name: stream",
        "count_key: depth",
        "path: stream.*.block",
        "components:",
        "- {name: self_attn, kind: self_attention}",
        "- {name: cross_attn, kind: cross_attention, missing_in: [-1]}",
        "- {name: up, kind: projection, feeds: down}",
        "- {name: down, kind: projection}",
        "- name: twice",
        "count_key: num_twice_layers",
        "components:",
        "- {name: attn, kind: self_attention, feeds: ff}",
        "- {name: ff, kind: feed_forward, calls: 2}",
        "sizes: {text_tokens: 256}",
    ]


def test_only_the_tree() -> None:
    """What is never called is there, too; nothing is known of readers, and the file says so."""
    description = describe(made_up()[0])
    [stream, double] = description.family.block_lists
    assert stream.component_names == ("self_attn", "cross_attn", "up", "down", "idle")
    assert [each.kind for each in stream.components][:3] == [
        "self_attention",
        "cross_attention",
        "projection",
    ]
    assert [each.feeds for each in stream.components] == [None] * 5
    assert double.component_names == ("attn", "ff")
    assert "Only the module tree was looked at" in description.to_yaml()


def test_numbers_of_blocks_that_no_key_has() -> None:
    model, run = made_up()
    model.config = {"num_attention_heads": 3, "window": 2}
    description = describe(model, run)
    assert [each.count_key for each in description.family.block_lists] == ["", ""]
    assert "no number of the config counts them" in description.to_yaml()


def test_what_cannot_be_described_is_one_clear_line() -> None:
    with pytest.raises(ModelError, match="^Linear has no blocks: no list of modules with an attention"):
        describe(nn.Linear(2, 2))
    with pytest.raises(
        ModelError, match="nothing of the MadeUpModel was called: `run` must make one forward"
    ):
        describe(made_up()[0], lambda: None)
