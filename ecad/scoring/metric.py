"""What a metric is, as one record: where its class is, what it says, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from ecad.scoring.needs import need_package


@dataclass(frozen=True)
class Metric:
    """A metric by name.

    `makes` is the scorer's class, or "module:Class", imported at its first use; it is called with `device` and the
    options that a user may give. `judges` says whether it makes a `Scorer` (of single images) or a `SetScorer`.
    `packages` are those whose versions decide its numbers, `imports` the modules that must be there beside ecad's own
    needs. `weights`, a function or "module:function", says in a line what weights were found on this machine and
    raises an EcadError with the remedy if they cannot be had; it downloads nothing. A `variant` may follow the name
    after a colon (clip:MODEL); here it is the name of the option that it sets. `searched_as` names the metric that a
    search optimises in its place.
    """

    name: str
    makes: str | Callable[..., Any]
    says: str
    judges: Literal["image", "set"] = "image"
    higher_is_better: bool = True
    decimals: int = 3  # in tables
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    weights: str | Callable[[], str] | None = None
    variant: str = ""
    searched_as: str = ""

    def make(self, device: str, **options: Any) -> Any:
        """The scorer. ConfigError, with the remedy, if its packages or weights are missing."""
        return _resolved(self.makes)(device=device, **options)

    def look(self) -> str:
        """What was found for it on this machine, in a line; an EcadError says what is missing, and the remedy."""
        for package in self.imports:
            need_package(package, self.name)
        if self.weights is not None:
            return str(_resolved(self.weights)())
        return "no weights" if self.packages else "part of ecad; no weights"


def _resolved(target: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
