"""Evaluation in this process, one unit after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ecad.errors import BrokenWorkerError, TransientEvaluationError, describe
from ecad.execution.base import Outcome
from ecad.execution.ledger import Ledger
from ecad.progress import WorkerReport
from ecad.records import Candidate, Evaluator


class LocalExecutor:
    """Runs an evaluator in the current process. A broken process (BrokenWorkerError) ends the search.

    At most `together` candidates that share their first steps are evaluated in one go.
    """

    def __init__(
        self, evaluator: Evaluator, together: int = 1, on_unit: Callable[[], None] = lambda: None
    ) -> None:
        self._evaluator = evaluator
        self._together = together
        self._on_unit = on_unit  # called after each

    @property
    def workers(self) -> Sequence[WorkerReport]:
        return ()

    def run(self, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        ledger = Ledger(candidates, self._evaluator, self._together)
        while (unit := ledger.take()) is not None:
            try:
                scores = self._evaluator.score_batch(unit.schedules, unit.batch, unit.pieces)
            except TransientEvaluationError as error:
                if len(unit.candidates) > 1:
                    self._together = 1  # for the generations to come
                ledger.out_of_memory(unit, describe(error))
            except BrokenWorkerError as error:
                if len(unit.candidates) > 1:
                    raise BrokenWorkerError(
                        f"{error}; if memory is short, --together 1 needs less"
                    ) from error
                raise
            except Exception as error:
                ledger.failed(unit, describe(error))
            else:
                ledger.done(unit, scores)
            self._on_unit()
            yield from ledger.finished()
