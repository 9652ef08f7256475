"""Hand-made schedules by short names such as `fora:3`: baselines for comparison and seeds for the search."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from ecad.errors import ScheduleError
from ecad.schedule.calibration import Calibration, smooth_schedule
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS_DENOISED, HOLDS_OUTPUT, ScheduleShape

HEURISTIC_HELP = (
    "all | fora:N (everything every N steps) | attn:N (attention every N steps, the rest always) | "
    "tgate:GATE (cross-attention until step GATE, then reused) | random:P[:SEED] (each entry recomputed with "
    "probability P) | mask:0,6,8,... (everything at the listed steps only) | output:0,6,8,... (the same, and in "
    "between nothing of the transformer runs) | denoised:0,6,8,... (the same, but in between the solver goes on with "
    "the clean sample predicted last, not with the last output) | smooth:ALPHA (SmoothCache: a component reuses while "
    "its calibrated error is below ALPHA; needs a calibration)"
)

CALIBRATED = "smooth"  # the kind of heuristic that needs a calibration

_FEWER_STEPS = "steps"  # a row of `ecad evaluate`, which looks like a heuristic and is no schedule

_ATTENTION_KINDS = ("self_attention", "cross_attention", "joint_attention")


def heuristic(text: str, shape: ScheduleShape, calibration: Calibration | None = None) -> Schedule:
    """The schedule called `text` for a model of this shape; see `HEURISTIC_HELP`. Only smooth:ALPHA needs the
    calibration."""
    _refuse_fewer_steps(text)
    kind, _, argument = text.partition(":")
    if kind == CALIBRATED:
        return _smooth(argument, text, shape, calibration)
    if kind not in _GENERATORS:
        raise ScheduleError(f"unknown heuristic {text!r}: use {HEURISTIC_HELP}")
    return _GENERATORS[kind](argument, text, shape)


def is_heuristic(text: str) -> bool:
    """Whether this names a heuristic (its argument may still be wrong).

    ScheduleError for `steps:...`, a row of `ecad evaluate`: who asks would take it for the name of a file.
    """
    _refuse_fewer_steps(text)
    return text.partition(":")[0] in (CALIBRATED, *_GENERATORS)


def refuse_uncalibrated(text: str, calibration: Calibration | None) -> None:
    """ScheduleError if this is smooth:ALPHA and there is no calibration, which can be known before the model is."""
    if needs_calibration(text) and calibration is None:
        raise _uncalibrated(text)


def needs_calibration(text: str) -> bool:
    """Whether this is smooth:ALPHA. ScheduleError if ALPHA is no number from 0 on, before anything is measured."""
    kind, _, argument = text.partition(":")
    if kind != CALIBRATED:
        return False
    _alpha(argument, text)
    return True


def step_mask(shape: ScheduleShape, steps: Iterable[int], name: str = "") -> Schedule:
    """Everything is recomputed at these steps (and at step 0), nothing in between."""
    arrays = shape.filled(False)
    for step in steps:
        if not 0 <= step < shape.steps:
            raise ScheduleError(f"step {step} is outside the steps 0 to {shape.steps - 1}")
        for array in arrays.values():
            array[step] = True
    return Schedule(shape.family, arrays, name=name)


def _all(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    if argument:
        raise ScheduleError(f"{text!r}: 'all' takes no argument")
    return Schedule.all_recompute(shape)


def _fora(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    """FORA (arXiv 2407.01425): all components are recomputed every N-th step and reused in between."""
    interval = _integer(argument, text, 1, shape.steps)
    return step_mask(shape, range(0, shape.steps, interval), name=text)


def _tgate(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    """T-GATE (arXiv 2404.02747): cross-attention is computed up to the gate step, its last output then reused."""
    gate = _integer(argument, text, 1, shape.steps)
    return _by_kind(shape, text, ("cross_attention",), lambda step: step < gate)


def _attention(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    interval = _integer(argument, text, 1, shape.steps)
    return _by_kind(shape, text, _ATTENTION_KINDS, lambda step: step % interval == 0)


def _random(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    probability_text, _, seed_text = argument.partition(":")
    try:
        probability = float(probability_text)
    except ValueError:
        probability = -1.0
    if not 0.0 <= probability <= 1.0:
        raise ScheduleError(f"{text!r}: P must be a probability from 0 to 1, for example random:0.3")
    seed = _integer(seed_text or "0", text, 0, 2**32 - 1)
    rng = np.random.default_rng(seed)
    arrays = {name: rng.random(size) < probability for name, size in shape.array_shapes().items()}
    return Schedule(shape.family, arrays, name=text)


def _mask(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    steps = [_integer(part, text, 0, shape.steps - 1) for part in argument.split(",")]
    return step_mask(shape, steps, name=text)


def _output(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    mask = _mask(argument, text, shape)
    output = next(iter(mask.recompute.values())).any(axis=(1, 2))
    return mask.replace(recompute_output=output, holds=HOLDS_OUTPUT)


def _denoised(argument: str, text: str, shape: ScheduleShape) -> Schedule:
    return _output(argument, text, shape).replace(holds=HOLDS_DENOISED)


def _alpha(argument: str, text: str) -> float:
    try:
        alpha = float(argument)
    except ValueError:
        alpha = -1.0
    if not 0.0 <= alpha < float("inf"):
        raise ScheduleError(f"{text!r}: ALPHA must be a number from 0 on, for example smooth:0.15")
    return alpha


def _smooth(argument: str, text: str, shape: ScheduleShape, calibration: Calibration | None) -> Schedule:
    alpha = _alpha(argument, text)
    if calibration is None:
        raise _uncalibrated(text)
    calibration.check_fits(shape)
    return smooth_schedule(calibration, alpha, name=text)


def _uncalibrated(text: str) -> ScheduleError:
    return ScheduleError(
        f"{text!r} needs a calibration: make one with ecad calibrate --model MODEL -o FILE, and give --calibration FILE"
    )


def _refuse_fewer_steps(text: str) -> None:
    kind, colon, argument = text.partition(":")
    if kind != _FEWER_STEPS or not colon:
        return
    steps = argument if re.fullmatch(r"\d+(,\d+)+", argument) else "0,6,8,..."
    raise ScheduleError(
        f"{text!r} is the untouched model with fewer steps and not a schedule: ecad evaluate takes it as a row; the "
        f"nearest schedule is output:{steps} (or denoised:{steps})"
    )


def _by_kind(
    shape: ScheduleShape, text: str, kinds: tuple[str, ...], recompute_at: Callable[[int], bool]
) -> Schedule:
    """Recompute everything always, but components of these kinds only at the steps chosen."""
    arrays = shape.filled(True)
    affected = False
    for block_list in shape.spec.block_lists:
        for index, component in enumerate(block_list.components):
            if component.kind in kinds:
                affected = True
                for step in range(shape.steps):
                    arrays[block_list.name][step, :, index] = recompute_at(step)
    if not affected:
        raise ScheduleError(f"{text!r} does not fit family {shape.family!r}: it has no {' or '.join(kinds)}")
    return Schedule(shape.family, arrays, name=text)


def _integer(text: str, whole: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ScheduleError(f"{whole!r}: expected a whole number, got {text!r}") from None
    if not low <= value <= high:
        raise ScheduleError(f"{whole!r}: {value} is outside {low} to {high}")
    return value


_GENERATORS: dict[str, Callable[[str, str, ScheduleShape], Schedule]] = {
    "all": _all,
    "fora": _fora,
    "tgate": _tgate,
    "attn": _attention,
    "random": _random,
    "mask": _mask,
    "output": _output,
    "denoised": _denoised,
}
