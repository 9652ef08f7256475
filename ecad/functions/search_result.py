"""What `ecad.search` returns: the run folder and its front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecad.errors import ConfigError, RunError
from ecad.measuring.rows import Measure, Row
from ecad.report.search_report import SearchReport
from ecad.schedule import Schedule
from ecad.storage import RunFolder


@dataclass(frozen=True)
class FrontMember:
    """A schedule of the front. `cost` (relative to recomputing everything) and `quality` are what the search saw,
    on its own prompts; `heldout` is what was measured on others, None as long as the search is not finished."""

    schedule: Schedule
    cost: float
    quality: float
    macs: int
    latency_s: float | None
    heldout: Row | None = None

    @property
    def speedup(self) -> float:
        """In what the search minimised."""
        return 1.0 / self.cost


@dataclass(frozen=True)
class SearchResult:
    """A search that is finished, or was stopped by a callback.

    `front` has the dearest first, which is the best. `report` has what was measured on held-out prompts: None where not
    `finished`.
    """

    folder: Path
    finished: bool
    front: Sequence[FrontMember]
    report: SearchReport | None

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of the report: uncached, the front, heuristics, fewer steps; none where not `finished`."""
        return () if self.report is None else self.report.rows

    def best(self, speedup: float, by: Measure = "macs") -> Schedule:
        """The best schedule of the front that is at least so much faster, with its held-out numbers.

        ConfigError if none is; RunError as long as the search is not finished.
        """
        from ecad.searching.choice import best_at, schedule_with_numbers

        if by not in ("macs", "latency"):
            raise ConfigError(f"by must be macs or latency, not {by!r}")
        if self.report is None:
            raise RunError(
                f"the search in {self.folder} is not finished: ecad.search(resume={str(self.folder)!r})"
            )
        folder = RunFolder.existing(self.folder)
        return schedule_with_numbers(folder, self.report, best_at(self.report, speedup, by))

    def _repr_markdown_(self) -> str:
        """The tables of `ecad show`, for notebooks."""
        from ecad.report.search_tables import report_markdown

        if self.report is None:
            return f"{self.folder}: not finished, {len(self.front)} schedules on the front so far"
        return report_markdown(self.report)


def search_result(path: Path, finished: bool) -> SearchResult:
    """The result in a run folder."""
    folder = RunFolder.existing(path)
    if not finished:
        return SearchResult(path, False, _front_so_far(folder), None)
    report = SearchReport.from_json(folder.read_report(), str(path / "report.json"))
    rows = {row.name: row for row in report.rows}
    front = []
    for name, schedule in folder.read_front().items():
        seen = schedule.provenance["search"]
        front.append(
            FrontMember(
                schedule,
                seen["relative_cost"],
                seen[report.quality],
                seen["macs"],
                seen["latency_s"],
                rows.get(name),
            )
        )
    return SearchResult(path, True, tuple(front), report)


def _front_so_far(folder: RunFolder) -> Sequence[FrontMember]:
    from ecad.searching.unfinished import front_so_far, schedules_of

    found = front_so_far(folder)
    return tuple(
        FrontMember(
            schedule,
            each.evaluation.cost,
            each.evaluation.quality,
            each.evaluation.macs,
            each.evaluation.latency_s,
        )
        for each, schedule in zip(found, schedules_of(folder, found), strict=True)
    )
