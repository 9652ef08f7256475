"""What names say: which modules do a block's work, and which number of the config counts the blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

Role = Literal["attention", "feed_forward", "projection", "container", "other"]

# Words of a name (between underscores, without digits) and parts of a class's name that mean: not a block's work.
_NO_WORD = re.compile(
    r"act|activation|ada\w*|drop|dropout|emb\w*|mod|modulation|norm|pos|rope|rotary|router|scale|shift|temb|time"
)
_NO_CLASSES = re.compile(r"norm|embed|modulat|rotary|rope|dropout|identity|adalayer|activation|processor")
_ATTENTION = re.compile(r"attention|attn")
_FEED_FORWARD_CLASS = re.compile(r"feedforward|mlp|ffn|moe|experts|swiglu|glumbconv")
_FEED_FORWARD_WORDS = frozenset(("ff", "ffn", "mlp", "feed", "moe", "experts"))
_COUNTS = frozenset(("layer", "layers", "block", "blocks", "depth", "depths"))
_COMMON = frozenset(("num", "n", "of", "transformer", *_COUNTS))


def words_of(name: str) -> list[str]:
    """`norm1_context` -> norm, context; of a dotted name those of its last part that is no number."""
    parts = [part for part in name.split(".") if not part.isdigit()]
    return [
        word
        for each in re.split(r"_+", parts[-1].lower() if parts else "")
        if (word := each.strip("0123456789"))
    ]


def role_of(name: str, module: nn.Module) -> Role:
    """What a module inside a block is by its attribute's name and its class."""
    words, kind = words_of(name), type(module).__name__.lower()
    if any(map(_NO_WORD.fullmatch, words)) or _NO_CLASSES.search(kind):
        return "other"
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
        return "projection"
    if not any(True for _ in module.parameters()):
        return "other"
    if "block" in kind or isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return "container"
    if _ATTENTION.search(kind) or any(_ATTENTION.search(word) for word in words):
        return "attention"
    if _FEED_FORWARD_CLASS.search(kind) or _FEED_FORWARD_WORDS.intersection(words):
        return "feed_forward"
    return "container" if any(True for _ in module.children()) else "other"


def is_an_embedders(path: str) -> bool:
    """Whether a part of the dotted path is an embedder: what lies in it prepares the blocks' inputs."""
    return any(
        {"embed", "embedder", "embedding", "refiner"} & set(words_of(part)) for part in path.split(".")[:-1]
    )


def count_key(name: str, blocks: int, config: Mapping[str, Any]) -> str:
    """The key of the config that counts these blocks: of those whose value fits, the one whose name does best.

    "" if there is none.
    """
    found = {
        key: words_of(key)
        for key, value in config.items()
        if not key.startswith("_") and _COUNTS.intersection(words_of(key)) and _number(value) == blocks
    }
    wanted = set(words_of(name)) - _COMMON

    def misfit(key: str) -> tuple[int, int]:
        words = set(found[key]) - _COMMON
        return len(words - wanted) - len(words & wanted), len(found[key])

    return min(found, key=misfit, default="")


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
