"""Passes of a step without cache contexts: told apart by their layout, their objects, their order; else refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import ecad
from ecad.caching.inputs import Inputs
from ecad.caching.passes import Passes

LATENTS = torch.zeros(2, 4)
COND, UNCOND = torch.ones(1, 3), torch.zeros(1, 3)


def forward(text: torch.Tensor | None = None, **more: Any) -> Inputs:
    """Embeddings that are a new object at each step are no help, as many pipelines make them."""
    return Inputs({"latents": LATENTS.clone(), "text": torch.ones(1, 3) if text is None else text, **more})


def lanes(steps: Sequence[Sequence[Inputs]]) -> list[list[int]]:
    passes, found = Passes(), []
    for step, forwards in enumerate(steps):
        found.append([])
        for inputs in forwards:
            lane, passes = passes.next(step, 0, inputs)
            found[-1].append(lane)
    return found


def test_by_order() -> None:
    assert lanes([[forward(), forward(), forward()] for _ in range(3)]) == [[0, 1, 2]] * 3


def test_by_the_objects_that_come_again() -> None:
    """Whatever their order, and where one of them ends."""
    both = [forward(COND), forward(UNCOND)]
    assert lanes([both, both[::-1], both]) == [[0, 1], [1, 0], [0, 1]]
    assert lanes([both, [forward(COND)], [forward(COND)]]) == [[0, 1], [0], [0]]
    assert lanes([both, [forward(UNCOND)], [forward(UNCOND)]]) == [[0, 1], [1], [1]]


def test_a_pass_that_begins_later() -> None:
    """Guidance that is on in some steps only."""
    only, both = [forward(COND)], [forward(COND), forward(UNCOND)]
    assert lanes([only, only, both, both, only, only]) == [[0], [0], [0, 1], [0, 1], [0], [0]]
    assert lanes([both, only, only, both]) == [[0, 1], [0], [0], [0, 1]]


def test_by_layout() -> None:
    """A batch that shrinks, layers that are skipped, a mode."""
    wide, narrow = Inputs({"latents": LATENTS}), Inputs({"latents": LATENTS[:1]})
    assert lanes([[wide], [wide], [narrow], [narrow], [wide]]) == [[0], [0], [1], [1], [0]]
    plain, skipping = forward(), forward(skip_layers=[1, 2])
    assert lanes([[plain], [plain, skipping], [plain, skipping], [plain]]) == [[0], [0, 1], [0, 1], [0]]
    assert lanes([[forward(skip_layers=[1])], [forward(skip_layers=[2])]]) == [[0], [1]]
    assert lanes([[forward(mode="extract")], [forward(mode="cached")]]) == [[0], [1]]


def test_what_cannot_be_told_apart_is_refused() -> None:
    def one() -> list[Inputs]:
        return [forward()]

    def two() -> list[Inputs]:
        return [forward(), forward()]

    with pytest.raises(ecad.ScheduleError, match=r"ran 1 times in step 1 .*, but 2 times in the step before"):
        lanes([two(), one(), one()])
    with pytest.raises(ecad.ScheduleError, match=r"ran 2 times in step 2 .*, but 1 times in the step before"):
        lanes([one(), one(), two()])


def test_another_timestep_is_another_pipelines() -> None:
    """Also where everything else would let it pass as a new one."""
    at = [forward(COND, timestep=torch.tensor([value])) for value in (1.0, 1.0, 0.9)]
    assert lanes([[at[0], at[1]]]) == [[0, 1]]
    with pytest.raises(ecad.ScheduleError, match="another pipeline, with a scheduler of its own"):
        lanes([[at[0], at[2]]])


def test_an_object_that_is_gone_is_not_taken_for_another() -> None:
    passes = Passes()
    _, passes = passes.next(0, 0, forward(torch.ones(1, 3)))
    _, passes = passes.next(0, 0, forward(UNCOND))
    assert [reference() is None for reference in passes.newest[0].objects.values()] == [True, True]
    assert passes.next(1, 0, forward(UNCOND))[0] == 1
