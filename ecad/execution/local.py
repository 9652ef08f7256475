"""Evaluation in this process, one candidate after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ecad.records import Candidate, Evaluation, Evaluator


class LocalExecutor:
    """Runs an evaluator in the current process."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def run(self, candidates: Sequence[Candidate]) -> Iterator[Evaluation]:
        for candidate in candidates:
            yield self._evaluator.evaluate(candidate)
