"""The content of an evaluation's results.json, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ecad.errors import RunError
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

    @classmethod
    def from_json(cls, content: Any, origin: str) -> Results:
        """Inverse of `to_json`; RunError, naming `origin`, for what is none of this version."""
        version = content.get("ecad_results") if isinstance(content, dict) else None
        if version != RESULTS_FORMAT:
            raise RunError(f"{origin} is in format {version!r}, this version of ecad reads {RESULTS_FORMAT}")
        parts = ("ecad_results", "metrics", "notes", "rows")
        try:
            return cls(
                about={key: value for key, value in content.items() if key not in parts},
                metrics=[MetricColumn(**metric) for metric in content["metrics"]],
                notes=list(content["notes"]),
                rows=[Row.from_json(row) for row in content["rows"]],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{origin} is damaged: {type(error).__name__} {error}") from None
