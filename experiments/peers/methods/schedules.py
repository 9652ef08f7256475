"""Rows that are ecad's: schedules, heuristics and fewer steps, by the names that `ecad evaluate` takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from bench import Bench
from peer import Call, DoesNotFitError, Setting

import ecad
from ecad.errors import EcadError
from ecad.evaluating.contenders import contenders_for, read_wishes
from ecad.measuring.measurements import Contender
from ecad.schedule import Schedule


def rows(bench: Bench, texts: Sequence[str]) -> list[Setting]:
    """A setting for each; what ecad refuses does not fit, for its reason."""
    try:
        contenders = contenders_for(read_wishes(texts), bench.subject.shape)[1:]
    except EcadError as error:
        raise DoesNotFitError(str(error)) from None
    return [_setting(bench, contender) for contender in contenders]


def scheduled(bench: Bench, name: str, schedule: Schedule) -> Setting:
    @contextmanager
    def switch() -> Iterator[Call]:
        with ecad.applied(bench.pipe, schedule):
            yield Call()

    return Setting(name, switch)


def _setting(bench: Bench, contender: Contender) -> Setting:
    if contender.schedule is not None:
        return scheduled(bench, contender.name, contender.schedule)
    return Setting(contender.name, partial(_fewer, bench, contender))


@contextmanager
def _fewer(bench: Bench, contender: Contender) -> Iterator[Call]:
    """Fewer steps, or the uncached model's noise levels at some of its steps only."""
    if contender.levels is None:
        yield Call({"num_inference_steps": contender.steps})
        return
    chosen = list(contender.levels)
    count = {"num_inference_steps": len(chosen)}
    if bench.subject.model.family.name == "pixart":
        bench.pipe.scheduler.set_timesteps(bench.steps)
        yield Call({**count, "timesteps": bench.pipe.scheduler.timesteps[chosen].tolist()})
    else:  # before the shift, which the pipeline applies
        sigmas = np.linspace(1.0, 1 / bench.steps, bench.steps)
        yield Call({**count, "sigmas": sigmas[chosen].tolist()})
