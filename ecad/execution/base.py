"""The protocol between the search loop and whatever evaluates candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ecad.records import Candidate, Evaluation


class Executor(Protocol):
    """Evaluates candidates and yields each evaluation as soon as it and all before it are ready.

    The order of the results is the order of the candidates, whatever finishes first: the run's log depends on
    nothing but the search's settings.
    """

    def run(self, candidates: Sequence[Candidate]) -> Iterator[Evaluation]: ...
