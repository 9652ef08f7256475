"""What to say when a folder was started with other settings."""

from __future__ import annotations

from typing import Any


def first_difference(old: Any, new: Any, where: str) -> str:
    """The first difference between two settings, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *old]:
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{where} {key}")
    if isinstance(old, list) and isinstance(new, list):
        for number, (one, other) in enumerate(zip(old, new, strict=False), start=1):
            if one != other:
                return first_difference(one, other, f"{where} {number}")
        return f"{len(old)} {where} there, {len(new)} now"
    return f"{where}: {old!r} there, {new!r} now"
