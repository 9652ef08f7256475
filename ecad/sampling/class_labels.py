"""Prompts of models that are told a class instead of a text: each is the class's name or number."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ecad.errors import ConfigError


def labels_of(name: str, pipe: Any, prompts: Sequence[str]) -> list[int]:
    """The numbers of these classes. ConfigError for one that the model, which errors call `name`, does not know."""
    known: Mapping[str, int] = getattr(pipe, "labels", None) or {}
    count = int(pipe.transformer.config["num_embeds_ada_norm"])
    return [_label_of(name, known, count, prompt.strip()) for prompt in prompts]


def _label_of(name: str, known: Mapping[str, int], count: int, prompt: str) -> int:
    if prompt in known:
        return known[prompt]
    if prompt.isdecimal() and int(prompt) < count:
        return int(prompt)
    by_name = f"a name such as {next(iter(known))!r}" if known else "no name, for its pipeline has no labels"
    close = difflib.get_close_matches(prompt, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"{prompt!r} is no class of {name}: a prompt is a number from 0 to {count - 1} or {by_name}{hint}"
    )
