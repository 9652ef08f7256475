"""Which of a step's passes is a forward of the transformer, where no cache context says so?"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecad.caching.inputs import Inputs
from ecad.errors import ScheduleError

ANOTHER_PIPELINE = (
    " (if another pipeline, with a scheduler of its own, runs this transformer: apply the schedule to that one, or to "
    "the transformer alone)"
)


@dataclass(frozen=True)
class _Pass:
    """The newest forward of one lane."""

    step: int
    layout: Hashable
    objects: Mapping[str, weakref.ref[Any]]  # its tensors
    timestep: Any  # as it was given
    by_order: bool  # nothing but its place in the step said which lane it is

    def shared_with(self, inputs: Inputs) -> int:
        """Number of arguments that are the very same objects."""
        return sum(
            name in self.objects and self.objects[name]() is tensor for name, tensor in inputs.tensors.items()
        )


@dataclass(frozen=True)
class Passes:
    """The passes of a call so far, by their numbers. A pass of the next step is recognised

    - by its inputs' layout: one with shapes (or skipped layers) of its own is a pass of its own;
    - by arguments that are the same objects as in the step before, as a prompt's embeddings usually are;
    - by its place among the passes of the step. Where only that is left, there must be as many as in the step before.

    A pass that is new begins with nothing stored.
    """

    newest: Mapping[int, _Pass] = field(default_factory=dict)

    def next(self, step: int, start_step: int, inputs: Inputs | None) -> tuple[int, Passes]:
        """The number of a forward in this step of a call that began at `start_step`, and the passes with it."""
        given = Inputs({}) if inputs is None else inputs
        done = {number: each for number, each in self.newest.items() if each.step == step}
        if not done:
            self._refuse_if_ambiguous(step)
        number, by_order = self._number(step, start_step, given, done)
        objects = {name: weakref.ref(tensor) for name, tensor in given.tensors.items()}
        this = _Pass(step, given.layout, objects, given.timestep_argument, by_order)
        return number, Passes({**self.newest, number: this})

    def _number(
        self, step: int, start_step: int, inputs: Inputs, done: Mapping[int, _Pass]
    ) -> tuple[int, bool]:
        """And whether only its place in the step tells."""
        layout = inputs.layout
        waiting = {
            number: each
            for number, each in self.newest.items()
            if number not in done and each.layout == layout
        }
        scores = {number: each.shared_with(inputs) for number, each in waiting.items()}
        best = [number for number, score in scores.items() if score == max(scores.values())]
        if len(best) == 1 and scores[best[0]] > 0:
            return best[0], False
        previous = self._step_before(step)
        in_turn = [number for number, each in waiting.items() if each.step == previous]
        if in_turn:
            return in_turn[0], True
        number = max(self.newest, default=-1) + 1
        if not done:
            return number, False
        is_like = [each for each in done.values() if each.layout == layout]
        is_ambiguous = step != start_step and any(each.by_order for each in is_like)
        if is_ambiguous or any(not inputs.has_timestep(each.timestep) for each in done.values()):
            before = (
                sum(each.step == previous for each in self.newest.values()) if previous is not None else 1
            )
            raise _uneven_passes(step, len(done) + 1, before)
        return number, False

    def _step_before(self, step: int) -> int | None:
        return max((each.step for each in self.newest.values() if each.step < step), default=None)

    def _refuse_if_ambiguous(self, step: int) -> None:
        """At a step's first pass: the step before may have left one out, and it is not known which."""
        previous = self._step_before(step)
        if previous is None:
            return
        ran = [each for each in self.newest.values() if each.step == previous]
        left_out = [each for each in self.newest.values() if each.step == previous - 1]
        if any(one.by_order and one.layout == other.layout for one in ran for other in left_out):
            raise _uneven_passes(previous, len(ran), len(ran) + len(left_out))


def _uneven_passes(step: int, count: int, count_before: int) -> ScheduleError:
    return ScheduleError(
        f"the transformer ran {count} times in step {step} of the schedule, but {count_before} times in the step "
        "before: without a cache context round each, the forwards of a step cannot be told apart"
        + ANOTHER_PIPELINE
    )
