"""What kind a component is: by its name, or by what it was seen to read and to return."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ecad.inspection.naming import words_of
from ecad.inspection.tree import FoundBlocks, Part
from ecad.inspection.watching import Calls, Shape, Watched

_NO_TOKENS = frozenset(("mask", "emb", "temb", "embed", "rope", "rotary", "freqs", "pos", "cos", "sin"))


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens that streams were seen to have, apart from each other."""

    streams: frozenset[int]

    @classmethod
    def of(cls, calls: Iterable[tuple[FoundBlocks, Calls]], watched: Watched | None) -> Lengths:
        found = {
            _length(shape)
            for _, each in calls
            for _, shape in (*_tokens(each), *(("", s) for s in each.outputs))
        }
        if watched is not None:
            found |= {_length(shape) for name, shape in watched.inputs if len(shape) == 3}
        return cls(frozenset(found - {0, 1}))

    def is_joined(self, length: int) -> bool:
        """Whether so many tokens are two streams behind each other."""
        return any(length - each in self.streams for each in self.streams if each < length)


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
        if len(shape) > 2 and not _NO_TOKENS.intersection(words_of(name))
    ]


def _length(shape: Shape) -> int:
    """Of (rows, tokens, width)."""
    return shape[1] if len(shape) == 3 else 0
