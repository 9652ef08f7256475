"""The module tree of a transformer: where its blocks are, and what in them may do their work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from ecad.inspection.naming import Role, is_an_embedders, role_of

Ran = Callable[[nn.Module], bool]


@dataclass(frozen=True)
class Part:
    """A module inside a block that may be a component; `name` is dotted if it lies deeper."""

    name: str
    role: Role
    module: nn.Module


@dataclass(frozen=True)
class FoundBlocks:
    """A list of blocks at `name`; `wrapper` is the dotted path from an element to its block, "" if that is the same."""

    name: str
    wrapper: str
    blocks: tuple[nn.Module, ...]

    @property
    def path(self) -> str:
        """As `BlockList.path` has it."""
        return f"{self.name}.*.{self.wrapper}" if self.wrapper else ""


def block_lists_of(transformer: nn.Module) -> tuple[list[FoundBlocks], list[FoundBlocks]]:
    """The lists of blocks with an attention or a feed-forward, outermost only; then those that an embedder owns."""
    found: list[FoundBlocks] = []
    embedders: list[FoundBlocks] = []
    for path, module in transformer.named_modules():
        if not isinstance(module, (nn.ModuleList, nn.ModuleDict)) or not len(module):
            continue
        if any(path.startswith(f"{known.name}.") for known in (*found, *embedders)):
            continue
        elements = list(module.children())
        wrapper = _wrapper(elements)
        blocks = tuple(each.get_submodule(wrapper) for each in elements)
        if all(any(part.role != "projection" for part in parts_of(block)) for block in blocks):
            (embedders if is_an_embedders(path) else found).append(FoundBlocks(path, wrapper, blocks))
    return found, embedders


def parts_of(block: nn.Module, ran: Ran | None = None, prefix: str = "") -> Iterator[Part]:
    """The modules of a block that may be components, from outside in.

    `ran` says of a module whether it was called as one: then only those count, and where a block reaches through an
    attention or a feed-forward, what it calls in there.
    """
    for child_name, child in block.named_children():
        name = f"{prefix}{child_name}"
        role = role_of(name, child)
        if role == "other":
            continue
        if role != "container" and (ran is None or ran(child)):
            yield Part(name, role, child)
        elif role == "container" or any(ran(each) for each in child.modules() if ran is not None):
            yield from parts_of(child, ran, f"{name}.")


def _wrapper(elements: list[nn.Module]) -> str:
    """The path from each element to its block, where elements are nothing but wrappers of one module."""
    path: list[str] = []
    while True:
        names = {tuple(name for name, _ in each.named_children()) for each in elements}
        own = any(True for each in elements for _ in each.parameters(recurse=False))
        if own or len(names) != 1 or len(only := next(iter(names))) != 1:
            return ".".join(path)
        inner = [each.get_submodule(only[0]) for each in elements]
        if any(role_of(only[0], each) != "container" or isinstance(each, nn.ModuleList) for each in inner):
            return ".".join(path)
        path.append(only[0])
        elements = inner
