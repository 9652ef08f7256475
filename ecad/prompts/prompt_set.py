"""Prompt sets: read once, checked, and identified by a hash that is stored with every result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ecad.errors import ConfigError
from ecad.prompts.decoding import decode
from ecad.prompts.formats import check_format, read_records
from ecad.prompts.records import CUT_CHARACTER, PromptFileMistake, has_cut_character
from ecad.resources import find_prompts, list_prompts

# The longest prompts that people publish (dense captions) have about 1500; what is longer is not a prompt but
# another file, and no text encoder reads it: T5 sees 120 to 512 tokens of about 4 characters, CLIP sees 77.
MAX_PROMPT_CHARACTERS = 2000

_MAX_FILE_BYTES = 1_000_000_000  # COCO's captions of its training images have 92 MB


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order, without duplicates. `sha256` is of the prompts that are used, one per line.

    `left_out` counts the entries of the file that are not used, by reason; those that a limit cuts off are no
    such entries. `categories`, if the file has them, holds one per prompt.
    """

    name: str
    prompts: tuple[str, ...]
    sha256: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    format: str = "text"
    categories: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def skipped(self) -> int:
        """Number of entries of the file that are left out."""
        return sum(self.left_out.values())

    def part(self, start: int, stop: int) -> PromptSet:
        """The prompts from `start` up to `stop`, as a set of its own."""
        prompts = self.prompts[start:stop]
        categories = None if self.categories is None else self.categories[start:stop]
        return replace(self, prompts=prompts, categories=categories, sha256=_sha256(prompts), left_out={})

    def describe(self) -> str:
        """One line for people: how many, of what format, the hash, and what was left out."""
        text = f"{self.name}: {len(self)} prompts ({self.format}), sha256 {self.sha256[:12]}"
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            text += f"; left out: {reasons}"
        return text


def load_prompts(
    source: str, limit: int | None = None, category: str | None = None, format_name: str | None = None
) -> PromptSet:
    """The prompts of a file or of a set that ships with ecad.

    `source` is a path or a bundled name such as "scenes-search". The file's format is what its name says, or
    `format_name` ("csv-semicolon", "jsonl:text"): see `ecad.prompts.formats`. `category` keeps the
    prompts of one category of a file that has them; `limit` then keeps the first so many.
    """
    if format_name is not None:
        check_format(format_name)
    try:
        path = Path(source).expanduser()
        if not path.is_file():
            bundled = find_prompts(source)
            if bundled is None:
                known = ", ".join(list_prompts())
                raise ConfigError(f"no prompt file {source!r}: give a prompt file or one of {known}")
            path = bundled
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is too large for a prompt file: it has more than 1 GB")
        content = path.read_bytes()
    except (OSError, RuntimeError) as error:  # no permission, name too long; no such user (~name)
        raise ConfigError(f"cannot read the prompts {source[:100]!r}: {error}") from None
    try:
        found = read_records(decode(content), path.suffix, format_name)
    except PromptFileMistake as mistake:
        raise ConfigError(f"{path}: {mistake}") from None
    prompts, categories = found.prompts, found.categories
    if category is not None:
        known_categories = sorted(set(categories or ()))
        if category not in known_categories:
            there = f"it has {', '.join(known_categories)}" if known_categories else "it has no categories"
            raise ConfigError(f"{path} has no category {category!r}: {there}")
        prompts = [prompt for prompt, own in zip(prompts, categories or (), strict=True) if own == category]
        categories = [category] * len(prompts)
    name = path.stem if category is None else f"{path.stem}/{category}"
    return prompt_set(
        name, prompts, limit, left_out=found.left_out, format_name=found.format, categories=categories
    )


def prompt_set(
    name: str,
    prompts: Sequence[str],
    limit: int | None = None,
    *,
    left_out: Mapping[str, int] | None = None,
    format_name: str = "text",
    categories: Sequence[str] | None = None,
) -> PromptSet:
    """A prompt set from a list.

    Duplicates, over-long prompts and those with half a character are dropped and counted as left out.
    """
    counts = dict(left_out or {})
    kept: dict[str, str] = {}  # prompt -> its category, "" where there are none
    for index, prompt in enumerate(prompts):
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            reason = f"longer than {MAX_PROMPT_CHARACTERS} characters"
        elif has_cut_character(prompt):
            reason = CUT_CHARACTER
        elif prompt in kept:
            reason = "duplicated"
        else:
            kept[prompt] = "" if categories is None else categories[index]
            continue
        counts[reason] = counts.get(reason, 0) + 1
    if limit is not None and limit < 1:
        raise ConfigError(f"the number of prompts must be at least 1, not {limit}")
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise ConfigError(f"prompt set {name!r} has no prompts: {reasons or 'it is empty'}")
    used = list(kept)[:limit]
    return PromptSet(
        name=name,
        prompts=tuple(used),
        sha256=_sha256(used),
        left_out=counts,
        format=format_name,
        categories=None if categories is None else tuple(kept[prompt] for prompt in used),
    )


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


def _sha256(prompts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(prompts).encode()).hexdigest()
