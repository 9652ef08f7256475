"""The evaluation log: one JSON line per evaluation, each synced to the disk before the search goes on.

The log is the checkpoint. The search is deterministic, so on resume it asks for the same schedules again and
finds their evaluations here; nothing else of its state is saved. Lines hold no clock time: two runs with equal
settings on the same machine write the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ecad.errors import RunError
from ecad.records import Candidate, Evaluation
from ecad.storage.json_lines import JsonLines, Record, read_json_lines


@dataclass(frozen=True)
class Logged:
    """An evaluation in a log, with where it stands in the search; `genome` is in hex.

    `images` is the number of its scores, also where those were left out.
    """

    evaluation: Evaluation
    genome: str
    generation: int  # from 1
    index: int  # in its generation, from 0
    images: int


class EvaluationLog:
    """The log file of a run, open for appending, with all its evaluations in memory by schedule key."""

    def __init__(self, path: Path) -> None:
        self._lines = self._open(path)
        self._entries = {each.evaluation.key: each for each in self._lines.items}
        self._waiting_path = path.with_suffix(".waiting.jsonl")
        self._waiting: JsonLines[Logged] | None = None
        if self._waiting_path.exists():
            try:
                self._waiting = self._open(self._waiting_path)
            except RunError as error:
                self._lines.close()
                raise RunError(f"{error}; it can be spared: without it what it holds is done again") from None

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Evaluation:
        return self._entries[key].evaluation

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Evaluation]:
        return (each.evaluation for each in self._entries.values())

    def append(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Write one evaluation and wait until it is on the disk."""
        self._entries[evaluation.key] = self._lines.append(_to_record(candidate, evaluation))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been evaluated yet, be it held."""
        return not self._entries and not self.held

    def hold(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Save an evaluation whose turn in the log has not come yet, in a file of its own beside the log."""
        if self._waiting is None:
            self._waiting = self._open(self._waiting_path)
        self._waiting.append(_to_record(candidate, evaluation))

    @property
    def held(self) -> dict[str, Evaluation]:
        """The evaluations that wait for their turn, by key; of an earlier start, too."""
        if self._waiting is None:
            return {}
        return {each.evaluation.key: each.evaluation for each in self._waiting.items}

    def release(self) -> None:
        """Forget what was held, once all of it is in the log."""
        if self._waiting is not None and all(key in self for key in self.held):
            self._waiting.close()
            self._waiting = None
            self._waiting_path.unlink(missing_ok=True)

    @property
    def lines(self) -> Iterator[Logged]:
        """All evaluations in the order of the log, with where they stand in the search."""
        return iter(self._entries.values())

    @property
    def failures(self) -> list[Evaluation]:
        """The candidates that could not be evaluated."""
        return [evaluation for evaluation in self if evaluation.failure is not None]

    def close(self) -> None:
        self._lines.close()
        if self._waiting is not None:
            self._waiting.close()

    @staticmethod
    def _open(path: Path) -> JsonLines[Logged]:
        remedy = "all earlier evaluations are safe, continue later with --resume"
        return JsonLines(path, _from_record, remedy)

    def __enter__(self) -> EvaluationLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: Path, *, scores: bool = True) -> Iterator[Logged]:
    """What is in a log that another process may be writing; a torn last record is left out.

    Without `scores` if they are not needed: those of a long search fill the memory.
    """

    def logged(record: Record) -> Logged:
        found = _from_record(record)
        return found if scores else replace(found, evaluation=replace(found.evaluation, scores=()))

    return read_json_lines(path, logged)


def read_evaluations(path: Path) -> Iterator[Evaluation]:
    """The evaluations alone."""
    return (each.evaluation for each in read_json_lines(path, _from_record))


def _to_record(candidate: Candidate, evaluation: Evaluation) -> dict[str, Any]:
    failure = {} if evaluation.failure is None else {"failure": evaluation.failure}
    return {
        "generation": candidate.generation,
        "index": candidate.index,
        "key": evaluation.key,
        "genome": candidate.genome,
        # JSON has no NaN: what is no number is null.
        "cost": _finite_or_none(evaluation.cost),
        "macs": evaluation.macs,
        "latency_s": _finite_or_none(evaluation.latency_s),
        "quality": _finite_or_none(evaluation.quality),
        "scores": [_finite_or_none(score) for score in evaluation.scores],
        **failure,
    }


def _from_record(record: Record) -> Logged:
    evaluation = Evaluation(
        key=str(record["key"]),
        cost=_number(record["cost"]),
        quality=_number(record["quality"]),
        scores=tuple(_number(score) for score in record["scores"]),
        macs=int(record["macs"]),
        latency_s=None if record["latency_s"] is None else float(record["latency_s"]),
        failure=None if record.get("failure") is None else str(record["failure"]),
    )
    images = len(evaluation.scores)
    return Logged(evaluation, str(record["genome"]), int(record["generation"]), int(record["index"]), images)


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
