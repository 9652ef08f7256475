"""The content of a run's report.json, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecad.errors import RunError
from ecad.measuring.rows import Kind, Measure, Row

REPORT_FORMAT = 1


@dataclass(frozen=True)
class Versus:
    """The front against a rival, paired on the same held-out images.

    `how` is "level" (whoever must be at least so much faster), "same cost" (the rival's, or less) or "same latency".
    Speedups are in `measure`.
    """

    how: str
    speedup: float
    measure: Measure
    front: str
    front_speedup: float
    rival: str
    rival_speedup: float
    difference: float
    difference_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "difference_interval": list(self.difference_interval)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Versus:
        low, high = content["difference_interval"]
        return cls(**{**content, "difference_interval": (low, high)})

    @property
    def compared_at(self) -> str:
        """In words: where on the front the two are compared."""
        return f"at least {self.speedup:g}x" if self.how == "level" else self.how


@dataclass(frozen=True)
class Volumes:
    """Held-out hypervolumes of the front and of its rivals, in the run's own cost.

    The reference is cost 1 and the worst row's quality. `rivals` is the hypervolume of heuristics and fewer steps
    together, and the intervals are those of front minus heuristics and of front minus rivals. Reports of older versions
    know nothing of the rivals together.
    """

    cost: Measure
    reference_quality: float
    by_kind: Mapping[Kind, float]
    front_minus_heuristic: tuple[float, float]
    rivals: float | None = None
    front_minus_rivals: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "cost": self.cost,
            "reference_cost": 1.0,
            "reference_quality": self.reference_quality,
            **{kind.value: volume for kind, volume in self.by_kind.items()},
            "front_minus_heuristic_interval": list(self.front_minus_heuristic),
            **(
                {}
                if self.front_minus_rivals is None
                else {"rivals": self.rivals, "front_minus_rivals_interval": list(self.front_minus_rivals)}
            ),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Volumes:
        low, high = content["front_minus_heuristic_interval"]
        by_kind = {kind: float(content[kind.value]) for kind in Kind if kind.value in content}
        against_all = content.get("front_minus_rivals_interval")
        return cls(
            content["cost"],
            content["reference_quality"],
            by_kind,
            (low, high),
            content.get("rivals"),
            None if against_all is None else (against_all[0], against_all[1]),
        )


@dataclass(frozen=True)
class SearchReport:
    """What a search found, measured on held-out prompts. `quality` is the metric's name.

    `search`, `heldout`, `latency` and `environment` say what was done and measured where, as plain data for people.
    """

    model: str
    steps: int
    quality: str
    search: Mapping[str, Any]
    heldout: Mapping[str, Any]
    latency: Mapping[str, Any]
    environment: Mapping[str, Any]
    volumes: Volumes
    comparisons: Sequence[Versus]
    rows: Sequence[Row]

    def of_kind(self, kind: Kind) -> list[Row]:
        return [row for row in self.rows if row.kind is kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "ecad_report": REPORT_FORMAT,
            "model": self.model,
            "steps": self.steps,
            "quality": self.quality,
            "search": dict(self.search),
            "heldout": dict(self.heldout),
            "latency": dict(self.latency),
            "environment": dict(self.environment),
            "hypervolume": self.volumes.to_json(),
            "comparisons": [item.to_json() for item in self.comparisons],
            "rows": [row.to_json(self.quality) for row in self.rows],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], origin: str) -> SearchReport:
        """RunError, naming `origin`, for what is no report of this version."""
        if content.get("ecad_report") != REPORT_FORMAT:
            raise RunError(
                f"{origin} is in format {content.get('ecad_report')!r}, this version of ecad reads {REPORT_FORMAT}: "
                "make it again with ecad search --resume"
            )
        try:
            quality = str(content["quality"])
            return cls(
                model=str(content["model"]),
                steps=int(content["steps"]),
                quality=quality,
                search=content["search"],
                heldout=content["heldout"],
                latency=content["latency"],
                environment=content["environment"],
                volumes=Volumes.from_json(content["hypervolume"]),
                comparisons=[Versus.from_json(item) for item in content["comparisons"]],
                rows=[Row.from_json(row, quality) for row in content["rows"]],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{origin} is damaged: {type(error).__name__} {error}") from None
