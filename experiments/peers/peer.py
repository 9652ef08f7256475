"""What a peer is here: a method with settings, each of which can be switched on and off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol


class DoesNotFitError(Exception):
    """A method cannot be used on a model, or here at all; the text is the reason that the table gives."""


@dataclass(frozen=True)
class Call:
    """How the pipeline is called while a setting is on: with further arguments, or another function instead of it."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Setting:
    """One row: `switch()` turns the setting on, yields how to call the pipeline, and turns it off again."""

    name: str
    switch: Callable[[], AbstractContextManager[Call]]


class Method(Protocol):
    """A module of `methods/`."""

    NAME: str

    def settings(self, bench: Any, front: str | None) -> Sequence[Setting]:
        """Its rows on the bench's model, the most telling first. DoesNotFitError says why there is none."""


def enabled(
    on: Callable[[], object], off: Callable[[], object]
) -> Callable[[], AbstractContextManager[Call]]:
    """A switch of two functions."""

    @contextmanager
    def switch() -> Iterator[Call]:
        on()
        try:
            yield Call()
        finally:
            off()

    return switch
