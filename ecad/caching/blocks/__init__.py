"""Blocks of known classes, decided as a whole: what nobody reads of a reused block is not computed.

A hook on a component saves that component alone: the norm and the modulation in front of it still run, as do gate and
residual behind it, at memory speed. Here a block's forward is written again as straight-line code that leaves out what
its pattern of recompute and reuse does not need. Components are looked up on the block when they run, so adapters,
quantised or offloaded layers that came later are simply what is called.

The code is for one forward of one class. A block of another class (a subclass too), or whose forward is not the one it
was written for (another version of diffusers, a patch), is cached component by component.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from ecad.caching.block_run import BlockRun
from ecad.families import Family

# (run, the list's blocks that have this code, which of them it is, the forward's own arguments) -> what that returns
BlockForward = Callable[..., Any]


@dataclass(frozen=True)
class Summing:
    """How stretches of such blocks are read as sums (`ecad.caching.sums`).

    `read`: (sums, call, the forward's arguments) -> what the stretch returns; `feed`: (run, call, block, together) adds
    the block's new outputs, those of so many blocks at once.
    """

    read: Callable[..., Any]
    feed: Callable[..., None]


def _as_given(run: BlockRun, is_compiled: bool, *args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def _as_returned(run: BlockRun, result: Any) -> Any:
    return result


@dataclass(frozen=True)
class KnownBlock:
    """A block's forward written again, and what it was written for.

    `enter` makes the arguments of `forward` out of those that the block is given, `leave` what the block returns out
    of what `forward` does. Both see what the blocks of one forward share (`run.shared`); `forward` does not where it is
    compiled.

    `is_chained`: `forward` takes hidden states first and returns them, and all blocks get the same other arguments, so
    that fully reused ones may run as one piece.

    `fingerprints` are those of the class's forward in the versions of diffusers that were compared by eye; `fits` says
    whether this very block is configured as the code expects.
    """

    module: str
    class_name: str
    fingerprints: frozenset[str]
    components: tuple[str, ...]
    forward: BlockForward
    fits: Callable[[Any], bool] = lambda block: True
    summing: Summing | None = None
    is_chained: bool = False
    enter: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] = _as_given
    leave: Callable[[BlockRun, Any], Any] = _as_returned


def known_block(block: nn.Module, components: tuple[str, ...]) -> KnownBlock | None:
    """The code for this block, if there is one; `components` are those that its family caches, in their order."""
    kind = type(block)
    forward = vars(block).get("forward")
    # Hooks of diffusers leave the class's own method behind when they go.
    if forward is not None and getattr(forward, "__func__", None) is not kind.forward:
        return None  # offloading, or another tool, does something round the class's forward
    for known in all_known():
        if (
            (kind.__module__, kind.__qualname__) == (known.module, known.class_name)
            and components == known.components
            and fingerprint(kind.forward) in known.fingerprints
            and known.fits(block)
        ):
            return known
    return None


def all_known() -> tuple[KnownBlock, ...]:
    """The code for all kinds of blocks."""
    from ecad.caching.blocks import flux, pixart

    return (*pixart.KNOWN, *flux.KNOWN)


def has_fast_path(family: Family) -> bool:
    """Whether there is code for blocks of the family, as the installed diffusers has them.

    A transformer of the family must have the block's class at hand: it is written or imported where that one is.
    """
    import diffusers

    lists = {block_list.component_names for block_list in family.block_lists}
    candidates = [known for known in all_known() if known.components in lists]
    if not candidates:
        return False
    transformers = [getattr(diffusers, name, None) for name in family.transformer_classes]
    modules = [sys.modules[each.__module__] for each in transformers if each is not None]
    for known in candidates:
        for kind in (getattr(module, known.class_name, None) for module in modules):
            if (
                kind is not None
                and kind.__module__ == known.module
                and fingerprint(kind.forward) in known.fingerprints
            ):
                return True
    return False


@cache
def fingerprint(function: Callable[..., Any]) -> str:
    """Of a function's code, without its annotations, comments and layout; empty where the source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


__all__ = ["KnownBlock", "Summing", "all_known", "fingerprint", "has_fast_path", "known_block"]
