"""Evaluation in this process, one unit after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ecad.errors import BrokenWorkerError, TransientEvaluationError
from ecad.execution.base import Outcome
from ecad.execution.ledger import Ledger, describe
from ecad.records import Candidate, Evaluator, WorkerReport


class LocalExecutor:
    """Runs an evaluator in the current process. A broken process (BrokenWorkerError) ends the search."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    @property
    def workers(self) -> Sequence[WorkerReport]:
        return ()

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        ledger = Ledger(candidates, self._evaluator)
        while (unit := ledger.take()) is not None:
            try:
                scores = self._evaluator.score_batch(unit.candidate.schedule, unit.batch, unit.pieces)
            except TransientEvaluationError as error:
                ledger.out_of_memory(unit, describe(error))
            except BrokenWorkerError:
                raise
            except Exception as error:
                ledger.failed(unit, describe(error))
            else:
                ledger.done(unit, scores)
            yield from ledger.finished()
