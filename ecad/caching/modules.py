"""Where the components of a family are in a transformer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from ecad.errors import ModelError
from ecad.families import BlockList, Family

Key = tuple[str, int, int]  # block list, block, component


def blocks_of(transformer: nn.Module, block_list: BlockList) -> list[nn.Module]:
    """The blocks of a list, in order; ModelError if they are not where the family says."""
    before, _, after = (block_list.path or f"{block_list.name}.*").partition("*")
    try:
        blocks = transformer.get_submodule(before.rstrip("."))
        return [block.get_submodule(after.lstrip(".")) for block in blocks.children()]
    except AttributeError as error:
        raise ModelError(
            f"{type(transformer).__name__} has no blocks at {block_list.path or block_list.name!r}: {error}"
        ) from None


def are_watched(blocks: Iterable[nn.Module]) -> bool:
    """Whether a hook of somebody else sees what goes into one of the blocks or comes out."""
    return any(block._forward_hooks or block._forward_pre_hooks for block in blocks)


def modules_beside_blocks(transformer: nn.Module, family: Family) -> list[nn.Module]:
    """The transformer's own modules that hold no blocks: embedders, the last norm and projection."""
    blocks = {block for block_list in family.block_lists for block in blocks_of(transformer, block_list)}
    return [child for child in transformer.children() if blocks.isdisjoint(child.modules())]


def component_modules(transformer: nn.Module, family: Family) -> dict[Key, nn.Module]:
    """All components that can be cached; ModelError if a block lacks one that the family says it has."""
    return {key: module for key, _, module in _components(transformer, family)}


def named_components(transformer: nn.Module, family: Family) -> Iterator[tuple[str, nn.Module]]:
    """The same with what messages call each: "transformer_blocks[3].attn1"."""
    return ((name, module) for _, name, module in _components(transformer, family))


def _components(transformer: nn.Module, family: Family) -> Iterator[tuple[Key, str, nn.Module]]:
    for block_list in family.block_lists:
        blocks = blocks_of(transformer, block_list)
        for number, block in enumerate(blocks):
            for index, component in enumerate(block_list.components):
                if not component.is_in(number, len(blocks)):
                    continue
                where = f"{block_list.name}[{number}]"
                if component.is_optional and getattr(block, component.name, block) is None:
                    continue
                try:
                    module = block.get_submodule(component.name)
                except AttributeError:
                    raise ModelError(f"{where} has no component {component.name!r} to cache") from None
                yield (block_list.name, number, index), f"{where}.{component.name}", module
