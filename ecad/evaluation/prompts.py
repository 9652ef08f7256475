"""Prompt sets: read once, checked, and identified by a hash that is stored with every result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecad.errors import ConfigError
from ecad.resources import find_prompts, list_prompts


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order, without duplicates. `sha256` is of the prompts that are used, one per line."""

    name: str
    prompts: tuple[str, ...]
    sha256: str
    skipped: int = 0  # lines left out: empty, comments, duplicates

    def __len__(self) -> int:
        return len(self.prompts)


def load_prompts(source: str, limit: int | None = None) -> PromptSet:
    """The prompts of a text file (one per line, `#` starts a comment line) or of a set that ships with ecad.

    `source` is a path or a bundled name such as "scenes-search"; `limit` keeps the first so many.
    """
    try:
        path = Path(source).expanduser()
        if not path.is_file():
            bundled = find_prompts(source)
            if bundled is None:
                known = ", ".join(list_prompts())
                raise ConfigError(f"no prompt file {source!r}: give a text file or one of {known}")
            path = bundled
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, RuntimeError) as error:  # no permission, name too long; no such user (~name)
        raise ConfigError(f"cannot read the prompts {source[:100]!r}: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a UTF-8 text file: {error.reason} at byte {error.start}") from None
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    return prompt_set(path.stem, kept, limit, skipped=len(lines) - len(kept))


def prompt_set(name: str, prompts: Sequence[str], limit: int | None = None, skipped: int = 0) -> PromptSet:
    """A prompt set from a list; duplicates are dropped and counted as skipped."""
    unique = list(dict.fromkeys(prompts))
    skipped += len(prompts) - len(unique)
    if limit is not None:
        if limit < 1:
            raise ConfigError(f"the number of prompts must be at least 1, not {limit}")
        unique = unique[:limit]
    if not unique:
        raise ConfigError(f"prompt set {name!r} has no prompts: every line is empty or a comment")
    digest = hashlib.sha256("\n".join(unique).encode()).hexdigest()
    return PromptSet(name, tuple(unique), digest, skipped)


def check_disjoint(search: PromptSet, heldout: PromptSet) -> None:
    """Held-out numbers mean something only on prompts that the search has not seen."""
    known = {_normal(prompt) for prompt in search.prompts}
    shared = [prompt for prompt in heldout.prompts if _normal(prompt) in known]
    if shared:
        raise ConfigError(
            f"{len(shared)} held-out prompts are also search prompts, for example {shared[0]!r}: "
            f"the sets {search.name!r} and {heldout.name!r} must be disjoint"
        )


def _normal(prompt: str) -> str:
    """Prompts that differ in case and blanks only say the same."""
    return " ".join(prompt.lower().split())
