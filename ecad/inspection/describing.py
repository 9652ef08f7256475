"""`ecad.families.describe`: a transformer's family, as found in its module tree and in one forward."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ecad.errors import ModelError
from ecad.families import BlockList, Component, Family
from ecad.families.family import Sizes
from ecad.families.spec_file import Place, dump_family
from ecad.inspection.kinds import Lengths, kind_by_name, kind_seen
from ecad.inspection.naming import count_key
from ecad.inspection.tree import FoundBlocks, Part, block_lists_of, parts_of
from ecad.inspection.watching import Calls, Reader, Run, Source, Watched, watch_calls, watch_readers

_TEXT_TOKENS = 256  # where nobody says how many
_LEAST_SHARE = 0.01  # of its block's FLOPs, for a linear layer to be a component


@dataclass(frozen=True)
class Description:
    """A family as found, and what a person should know about it: `notes` by place, "" in a file as comments."""

    family: Family
    notes: Mapping[Place, str] = field(default_factory=dict)

    def to_yaml(self) -> str:
        """The family's file, for `--family` and `ecad.families.register`."""
        return dump_family(self.family, self.notes)


@dataclass(frozen=True)
class _Found:
    """One component of a list: where it is, in which blocks, and what it did in the first of them."""

    part: Part
    modules: Mapping[int, nn.Module]  # by block
    calls: Calls
    most_calls: int


def describe(
    transformer: nn.Module,
    run: Run | None = None,
    *,
    text_tokens: int | None = None,
    guidance_setting: str | None = None,
    origin: str = "",
) -> Description:
    """Find a transformer's blocks and their components. ModelError for a class without blocks.

    `run` makes a forward of the transformer (several will do, the first is watched; it is called twice). Without it
    only the module tree is looked at: modules that are there but never called as such are then listed, too.
    """
    class_name = type(transformer).__name__
    lists, embedders = block_lists_of(transformer)
    if not lists:
        raise ModelError(
            f"{class_name} has no blocks: no list of modules with an attention or a feed-forward in each; it is no "
            "transformer that can be cached by its components"
        )
    watched = None if run is None else watch_calls(transformer, run)
    if watched is not None and not watched.calls:
        raise ModelError(f"nothing of the {class_name} was called: `run` must make one forward of it")
    notes: dict[Place, str] = {}
    found = {each.name: _components_of(each, watched) for each in lists}
    idle = [each.name for each in lists if not found[each.name]]
    lists = [each for each in lists if found[each.name]]
    if not lists:
        raise ModelError(
            f"no block of the {class_name} was called in the forward that was watched: {', '.join(idle)}"
        )
    readers = {} if run is None or watched is None else _readers(transformer, lists, found, run)
    lengths = Lengths.of([(each, seen) for each in lists for seen in _calls(found[each.name])], watched)
    config = dict(getattr(transformer, "config", {}))
    block_lists = tuple(
        _block_list(each, found[each.name], watched, readers, lengths, config, notes) for each in lists
    )
    family = Family(
        name=_family_name(class_name),
        transformer_classes=(class_name,),
        block_lists=block_lists,
        sizes=Sizes(text_tokens=text_tokens or _TEXT_TOKENS),
        guidance_setting="true_cfg_scale" if guidance_setting == "true_cfg_scale" else "guidance_scale",
    )
    notes[()] = _head(class_name, origin, watched, idle, embedders, text_tokens)
    return Description(family, notes)


def _components_of(found: FoundBlocks, watched: Watched | None) -> list[_Found]:
    """What does the work in the blocks of a list, in the order in which it runs, attentions first."""
    parts: dict[str, Part] = {}
    modules: dict[str, dict[int, nn.Module]] = {}
    for number, block in enumerate(found.blocks):
        for part in parts_of(block, None if watched is None else watched.ran):
            if watched is None or _does_work(part, block, watched):
                parts.setdefault(part.name, part)
                modules.setdefault(part.name, {})[number] = part.module
    # Where the feed-forward is a module, single linear layers beside it only prepare or mix streams.
    if any(part.role == "feed_forward" for part in parts.values()):
        parts = {name: part for name, part in parts.items() if part.role != "projection"}
    result = []
    for name, part in parts.items():
        seen = [Calls() if watched is None else watched.of(module) for module in modules[name].values()]
        result.append(_Found(part, modules[name], seen[0], max(1, *(each.number for each in seen))))
    return sorted(result, key=lambda each: (each.part.role != "attention", each.calls.order))


def _does_work(part: Part, block: nn.Module, watched: Watched) -> bool:
    """Whether it returns tensors; a linear layer also must see tokens and be a share of the block's work."""
    calls = watched.of(part.module)
    if part.role != "projection":
        return bool(calls.outputs)
    # Of (rows, tokens, width): an embedding of the timestep has no tokens.
    tokens = max((shape[1] for shape in calls.outputs if len(shape) > 2), default=0)
    whole = watched.of(block).flops or sum(watched.of(each).flops for each in block.children())
    return tokens > 1 and calls.flops >= _LEAST_SHARE * whole


def _readers(
    transformer: nn.Module, lists: Sequence[FoundBlocks], found: Mapping[str, list[_Found]], run: Run
) -> dict[Source, set[Reader]]:
    blocks = {(each.name, number): block for each in lists for number, block in enumerate(each.blocks)}
    components = {
        (each.name, number, component.part.name): module
        for each in lists
        for component in found[each.name]
        for number, module in component.modules.items()
    }
    return watch_readers(transformer, blocks, components, run)


def _calls(found: Sequence[_Found]) -> list[Calls]:
    return [each.calls for each in found if each.part.role == "attention"]


def _block_list(
    blocks: FoundBlocks,
    found: Sequence[_Found],
    watched: Watched | None,
    readers: Mapping[Source, set[Reader]],
    lengths: Lengths,
    config: Mapping[str, Any],
    notes: dict[Place, str],
) -> BlockList:
    count = len(blocks.blocks)
    feeds = {each.part.name: _fed_by(blocks.name, each, readers) for each in found}
    components = []
    for each in _before_what_they_feed(found, feeds):
        name = each.part.name
        if watched is None:
            kind = kind_by_name(each.part)
        else:
            kind = kind_seen(each.part, each.calls, lengths)
            notes[blocks.name, name] = _seen_of(each, count)
        missing = _missing(set(range(count)) - set(each.modules), count)
        options: dict[str, Any] = {"calls": each.most_calls} if each.most_calls > 1 else {}
        components.append(Component(name, kind, feeds[name], missing, **options))
    key = count_key(blocks.name, count, config)
    what = f"{count} blocks: {', '.join(sorted({type(block).__name__ for block in blocks.blocks}))}"
    if not key:
        what += "\nno number of the config counts them: it is taken from the model once that is loaded"
    notes[blocks.name,] = what
    return BlockList(blocks.name, key, tuple(components), path=blocks.path)


def _fed_by(block_list: str, found: _Found, readers: Mapping[Source, set[Reader]]) -> str | None:
    """The component that alone reads this one's output, in every block; None if there is no such."""
    fed: set[str | None] = set()
    for number in found.modules:
        who = readers.get((block_list, number, found.part.name), set())
        reader = next(iter(who)) if len(who) == 1 else None
        is_own = reader is not None and reader[:2] == (block_list, number) and reader[2] != found.part.name
        fed.add(reader[2] if is_own and reader is not None else None)
    return fed.pop() if len(fed) == 1 else None


def _before_what_they_feed(found: Sequence[_Found], feeds: Mapping[str, str | None]) -> list[_Found]:
    """The same order, but for those that come after the component they feed."""
    result: list[_Found] = []

    def add(each: _Found) -> None:
        if each not in result:
            for other in found:
                if feeds[other.part.name] == each.part.name:
                    add(other)
            result.append(each)

    for each in found:
        add(each)
    return result


def _missing(blocks: set[int], count: int) -> tuple[int, ...]:
    """Counted from the end where it is the last blocks: they are so in models of another depth, too."""
    if blocks == set(range(count - len(blocks), count)):
        return tuple(range(-len(blocks), 0))
    return tuple(sorted(blocks))


def _seen_of(found: _Found, blocks: int) -> str:
    calls = found.calls
    times = "once" if found.most_calls == 1 else f"{found.most_calls} times"
    outputs = " and ".join("x".join(map(str, shape)) for shape in calls.outputs)
    there = "" if len(found.modules) == blocks else f", in {len(found.modules)} of {blocks} blocks"
    return f"{type(found.part.module).__name__}, called {times}{there}: returns {outputs}"


def _head(
    class_name: str,
    origin: str,
    watched: Watched | None,
    idle: Sequence[str],
    embedders: Sequence[FoundBlocks],
    text_tokens: int | None,
) -> str:
    lines = [f"Found in {origin or class_name}: look it over before you use it."]
    if watched is None:
        lines += [
            "Only the module tree was looked at, no forward was watched: check in the source of the blocks' forward",
            "that each component is called as a module (not only its layers), how often (calls), in which blocks",
            "(missing_in), and whether another component alone reads its output (feeds).",
        ]
    else:
        lines.append(
            "One forward was watched; a component that is called only under other inputs is not listed."
        )
    if idle:
        lines.append(f"Not called in that forward, and so left out: {', '.join(idle)}")
    if embedders:
        lines.append(f"Left out, since an embedder owns them: {', '.join(each.name for each in embedders)}")
    if text_tokens is None:
        lines.append("sizes: how many tokens its pipeline pads prompts to was not found.")
    return "\n".join(lines)


def _family_name(class_name: str) -> str:
    """FooTransformer2DModel -> foo_transformer2d"""
    short = class_name.removesuffix("Model")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", short).lower()
