"""The content of an evaluation's results.json, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ecad.measuring.rows import Row

RESULTS_FORMAT = 1


@dataclass(frozen=True)
class MetricColumn:
    """A metric of the table. `reference` says what it compares with besides the prompt: the uncached image, a set."""

    name: str
    higher_is_better: bool
    reference: Literal["uncached", "set"] | None
    decimals: int = 3

    @property
    def has_difference(self) -> bool:
        """Whether a difference to uncached says something: fidelity is one already."""
        return self.reference != "uncached"

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Results:
    """Schedules and others against the uncached model. `about` says what was compared on what, as plain data."""

    about: Mapping[str, Any]
    metrics: Sequence[MetricColumn]
    notes: Sequence[str]
    rows: Sequence[Row]

    def to_json(self) -> dict[str, Any]:
        return {
            "ecad_results": RESULTS_FORMAT,
            **self.about,
            "metrics": [metric.to_json() for metric in self.metrics],
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }
