"""What kind a component is: by its name, or by what it was seen to read and to return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ecad.inspection.naming import words_of
from ecad.inspection.tree import Part
from ecad.inspection.watching import Calls, Shape, Watched

_NO_TOKENS = frozenset(("mask", "emb", "temb", "embed", "rope", "rotary", "freqs", "pos", "cos", "sin"))


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens that were seen: of streams apart from each other (given to the transformer, or made by a module
    beside its blocks), of all that attentions see, and of what those of each block list return."""

    apart: frozenset[int]
    streams: frozenset[int]
    by_list: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, calls: Sequence[Sequence[Calls]], watched: Watched | None) -> Lengths:
        """`calls` are those of the attentions of each block list."""
        by_list = tuple(
            frozenset(_length(shape) for each in group for shape in each.outputs) for group in calls
        )
        seen = {_length(shape) for group in calls for each in group for _, shape in _tokens(each)}
        shapes = [] if watched is None else [*(shape for _, shape in watched.inputs), *watched.beside_blocks]
        apart = frozenset(_length(shape) for shape in shapes if len(shape) == 3) - {0, 1}
        return cls(apart, frozenset(seen.union(apart, *by_list) - {0, 1}), by_list)

    def is_joined(self, length: int) -> bool:
        """Whether so many tokens are two streams behind each other: two lengths, or the same of two block lists."""
        return length not in self.apart and any(
            length - each in self.streams
            and (length != 2 * each or sum(each in lengths for lengths in self.by_list) > 1)
            for each in self.streams
        )


def kind_by_name(part: Part) -> str:
    if part.role != "attention":
        return part.role
    name = part.name.rpartition(".")[2]
    if "cross" in name or name in ("attn2", "attn_2"):
        return "cross_attention"
    if any(getattr(part.module, each, None) is not None for each in ("add_q_proj", "add_k_proj")):
        return "joint_attention"
    return "self_attention"


def kind_seen(part: Part, calls: Calls, lengths: Lengths) -> str:
    """Of an attention: joint where it works on two streams at once, cross where its keys are not of its queries."""
    if part.role != "attention":
        return part.role
    outputs = [shape for shape in calls.outputs if len(shape) > 2]
    tokens = _tokens(calls)
    if len(outputs) > 1 and len(tokens) > 1:
        return "joint_attention"
    own = _length(tokens[0][1]) if tokens else 0
    if len(tokens) > 1 and "cross" not in words_of(part.name) and outputs and _length(outputs[0]) != own:
        return "joint_attention"
    if len(tokens) > 1 or "cross" in words_of(part.name):
        return "cross_attention"
    return "joint_attention" if lengths.is_joined(own) else "self_attention"


def _tokens(calls: Calls) -> list[tuple[str, Shape]]:
    """Inputs that are tokens: those of masks and positions are none."""
    return [
        (name, shape)
        for name, shape in calls.inputs
        if len(shape) > 2 and not _NO_TOKENS.intersection(words_of(name)) and name != "cross_attention_kwargs"
    ]


def _length(shape: Shape) -> int:
    """Of (rows, tokens, width) or (rows, tokens, heads, width)."""
    return shape[1] if len(shape) > 2 else 0
