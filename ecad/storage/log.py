"""The evaluation log: one JSON line per evaluation, each synced to the disk before the search goes on.

The log is the checkpoint. The search is deterministic, so on resume it asks for the same schedules again and
finds their evaluations here; nothing else of its state is saved. Lines hold no clock time: two runs with equal
settings on the same machine write the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ecad.errors import RunError
from ecad.records import Candidate, Evaluation


class EvaluationLog:
    """The log file of a run, open for appending, with all its evaluations in memory by schedule key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._evaluations: dict[str, Evaluation] = {}
        self._genomes: dict[str, str] = {}
        self._file: IO[bytes] | None = None
        try:
            valid_bytes = self._read()
            self._file = path.open("ab")
            # A record whose writing was cut off is dropped; its evaluation is simply done again.
            self._file.truncate(valid_bytes)
        except OSError as error:
            raise RunError(f"cannot open the evaluation log {path}: {error.strerror}") from error

    def __contains__(self, key: str) -> bool:
        return key in self._evaluations

    def __getitem__(self, key: str) -> Evaluation:
        return self._evaluations[key]

    def __len__(self) -> int:
        return len(self._evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._evaluations.values())

    def append(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Write one evaluation and wait until it is on the disk."""
        if self._file is None:
            raise RunError(f"the evaluation log {self._path} is closed")
        line = json.dumps(_to_record(candidate, evaluation), separators=(",", ":")) + "\n"
        position = self._file.tell()
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._undo(position)
            raise RunError(
                f"cannot write the evaluation log {self._path}: {error.strerror}; all earlier evaluations are "
                "safe, continue later with --resume"
            ) from error
        self._evaluations[evaluation.key] = evaluation
        self._genomes[evaluation.key] = candidate.genome

    def genome(self, key: str) -> str:
        """The genome, in hex, of an evaluation in the log."""
        return self._genomes[key]

    @property
    def failures(self) -> list[Evaluation]:
        """The candidates that could not be evaluated."""
        return [evaluation for evaluation in self if evaluation.failure is not None]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> EvaluationLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _undo(self, position: int) -> None:
        """After a failed write: forget what is buffered and cut the file back to the last whole record."""
        if self._file is not None:
            descriptor = os.dup(self._file.fileno())
            with contextlib.suppress(OSError):  # closing writes what is buffered, which is to be dropped
                self._file.close()
            os.ftruncate(descriptor, position)
            os.close(descriptor)
            self._file = None

    def _read(self) -> int:
        """Load all whole records; returns the number of bytes they take."""
        if not self._path.exists():
            return 0
        for record, end in _whole_lines(self._path):
            evaluation = _from_record(record)
            self._evaluations[evaluation.key] = evaluation
            self._genomes[evaluation.key] = str(record["genome"])
            valid = end
        return valid if self._evaluations else 0


def read_records(path: Path) -> Iterator[tuple[Evaluation, int]]:
    """(evaluation, offset of its end in bytes) of every whole record; a torn last line is left out."""
    for record, end in _whole_lines(path):
        yield _from_record(record), end


def _whole_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, offset of its end in bytes), each record checked to be one."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                record = json.loads(line)
                _from_record(record)
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path} is damaged at line {number}: {type(error).__name__} {error}"
                ) from None
            yield record, end


def _to_record(candidate: Candidate, evaluation: Evaluation) -> dict[str, Any]:
    failure = {} if evaluation.failure is None else {"failure": evaluation.failure}
    return {
        "generation": candidate.generation,
        "index": candidate.index,
        "key": evaluation.key,
        "genome": candidate.genome,
        "cost": evaluation.cost if math.isfinite(evaluation.cost) else None,
        "macs": evaluation.macs,
        "latency_s": evaluation.latency_s,
        # JSON has no NaN: a failed score is null.
        "quality": evaluation.quality if math.isfinite(evaluation.quality) else None,
        "scores": [score if math.isfinite(score) else None for score in evaluation.scores],
        **failure,
    }


def _from_record(record: dict[str, Any]) -> Evaluation:
    return Evaluation(
        key=str(record["key"]),
        cost=_number(record["cost"]),
        quality=_number(record["quality"]),
        scores=tuple(_number(score) for score in record["scores"]),
        macs=int(record["macs"]),
        latency_s=None if record["latency_s"] is None else float(record["latency_s"]),
        failure=None if record.get("failure") is None else str(record["failure"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
