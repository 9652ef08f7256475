"""How much a model's outputs change from step to step, and the schedules that this suggests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecad.arrays import FloatArray
from ecad.atomic import write_text
from ecad.errors import ScheduleError, one_line
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS_OUTPUT, ScheduleShape

CALIBRATION_FORMAT = 1
_DIGITS = 4  # significant ones in a file

# What is recorded in `Calibration.source`, beside the model and the scheduler, of how the images were made.
_SETTINGS = ("height", "width", "num_frames", "guidance_scale", "guidance_scale_2", "true_cfg_scale")
_MOST_CHARACTERS = 60  # of a recorded value in a line


@dataclass(frozen=True, eq=False)
class Calibration:
    """Relative distances of outputs at two steps of uncached passes, means over images (and over rows of guidance).

    `components[block_list]` has shape (steps, steps, blocks, components) and `output`, of the transformer's whole
    output, (steps, steps). Entry [s, t] is |output of step s - output of step t| / |output of step t| in the Euclidean
    norm: what is wrong at step t, relatively, if the output of step s is used there. `source` says what was measured.
    """

    shape: ScheduleShape
    components: Mapping[str, FloatArray]
    output: FloatArray
    source: Mapping[str, Any] = field(default_factory=dict)

    def check_fits(self, shape: ScheduleShape) -> None:
        """ScheduleError if it was measured on a model, or a number of steps, of another shape."""
        if shape != self.shape:
            raise ScheduleError(
                f"the calibration is for {self.shape.describe()}, needed is one for {shape.describe()}: make it with "
                "ecad calibrate"
            )

    def origin_note(
        self, model: str, settings: Mapping[str, Any] | None = None, scheduler: object = None
    ) -> str | None:
        """One line for the user that names what `source` records otherwise than it is here; None where nothing differs.

        `model` is a model's name, `settings` has what its images are made with (`GenerationSettings`), `scheduler` is
        that of its pipeline. What is not given, or not recorded, is not compared.
        """
        here: dict[str, Any] = {"model": model}
        here |= {name: settings[name] for name in _SETTINGS if settings is not None and name in settings}
        if scheduler is not None:
            here["scheduler"] = type(scheduler).__name__
        recorded = dict(self.source)
        if "height" in recorded:
            recorded.setdefault("num_frames", 1)  # recorded for videos only
        different = [
            f"{name} {_shown(recorded[name])} (here {_shown(value)})"
            for name, value in here.items()
            if recorded.get(name) is not None and recorded[name] != value
        ]
        if not different:
            return None
        return (
            f"it was made with {', '.join(different)}, and how outputs change may differ here: make one with ecad "
            "calibrate"
        )

    def rounded(self) -> Calibration:
        """With the numbers that a file would hold."""
        return Calibration.from_json(self.to_json(), "of this model")

    def to_json(self) -> dict[str, Any]:
        return {
            "ecad_calibration": CALIBRATION_FORMAT,
            "family": self.shape.family,
            "steps": self.shape.steps,
            "blocks": dict(self.shape.blocks),
            **({} if self.shape.holds == HOLDS_OUTPUT else {"holds": self.shape.holds}),
            "source": dict(self.source),
            "output": _rounded(self.output),
            "components": {name: _rounded(values) for name, values in self.components.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], origin: str) -> Calibration:
        """Inverse of `to_json`; ScheduleError, naming `origin`, for what is none."""
        if content.get("ecad_calibration") != CALIBRATION_FORMAT:
            raise ScheduleError(
                f"{origin} is not a calibration of this version of ecad: make one with ecad calibrate"
            )
        try:
            shape = ScheduleShape(
                str(content["family"]),
                int(content["steps"]),
                dict(content["blocks"]),
                content.get("holds", HOLDS_OUTPUT),
            )
            output = np.array(content["output"], dtype=np.float64)
            components = {
                # Without any block of an optional list an array's last axes are lost in JSON.
                name: np.array(content["components"][name], dtype=np.float64)
                if shape.blocks[name]
                else np.zeros((shape.steps, *size))
                for name, size in shape.array_shapes().items()
            }
            source = dict(content.get("source") or {})
        except (KeyError, TypeError, ValueError) as error:
            raise ScheduleError(f"the calibration {origin} is damaged: {one_line(error)}") from None
        expected = {name: (shape.steps, *size) for name, size in shape.array_shapes().items()}
        is_sound = output.shape == (shape.steps, shape.steps) and all(
            components[name].shape == size for name, size in expected.items()
        )
        if not is_sound or not all(
            np.isfinite(values).all() and (values >= 0).all() for values in (output, *components.values())
        ):
            raise ScheduleError(f"the calibration {origin} is damaged: its numbers do not fit its shape")
        return cls(shape, components, output, source)

    def errors_of(self, schedule: Schedule) -> FloatArray:
        """What is wrong at each step under a schedule of this shape, as far as the calibration knows: shape
        (steps, 1 + components of all block lists).

        Relative distances of what is used from what would be computed, means over the blocks: first the whole output's,
        then each component's; 0 where it is computed or not read.
        """
        steps = np.arange(schedule.steps)
        runs = schedule.recompute_output
        newest = np.maximum.accumulate(np.where(runs, steps, 0))
        columns = [self.output[newest, steps]]
        for name, flags in schedule.recompute.items():
            present = self.shape.present[name]
            computed = np.where(flags & runs[:, None, None], steps[:, None, None], 0)
            sources = np.maximum.accumulate(computed, axis=0)  # (steps, blocks, components)
            _, blocks, parts = np.indices(sources.shape)
            errors = self.components[name][sources, steps[:, None, None], blocks, parts] * (
                runs[:, None, None] & present
            )
            columns += list((errors.sum(axis=1) / np.maximum(present.sum(axis=0), 1)).T)
        return np.stack(columns, axis=1)

    def save(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(self.to_json()) + "\n")
        except OSError as error:
            raise ScheduleError(f"cannot write {path}: {error.strerror}") from None


def load_calibration(path: Path) -> Calibration:
    """A file that `Calibration.save` wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScheduleError(f"cannot read the calibration {path}: {error.strerror}") from None
    except ValueError as error:
        raise ScheduleError(f"the calibration {path} is damaged: {one_line(error)}") from None
    return Calibration.from_json(content if isinstance(content, dict) else {}, str(path))


def best_masks(errors: FloatArray) -> dict[int, tuple[int, ...]]:
    """For each number of steps at which something is computed: which steps, step 0 among them.

    `errors[s, t]`, shape (steps, steps), is what using step s's output at step t costs. Best under an additive model:
    the smallest sum over all steps of the cost of what they use, found by dynamic programming over the gaps.
    """
    steps = len(errors)
    # gaps[s, e]: computed at s, used at s + 1 to e - 1.
    gaps = np.zeros((steps, steps + 1))
    for start in range(steps):
        gaps[start, start + 1 :] = np.cumsum(np.concatenate([[0.0], errors[start, start + 1 :]]))
    # best[s]: the smallest cost from s on with s computed and a given number of computed steps from there on.
    best = gaps[:, steps].copy()
    following: list[list[int]] = []
    masks: dict[int, tuple[int, ...]] = {1: (0,)}
    for count in range(2, steps + 1):
        earlier, best = best, np.full(steps, np.inf)
        chosen = [0] * steps
        for start in range(steps - count + 1):
            costs = gaps[start, start + 1 : steps] + earlier[start + 1 :]
            chosen[start] = start + 1 + int(np.argmin(costs))
            best[start] = float(costs.min())
        following.insert(0, chosen)
        mask = [0]
        for following_of in following:
            mask.append(following_of[mask[-1]])
        masks[count] = tuple(mask)
    return masks


def smooth_schedule(calibration: Calibration, alpha: float, name: str = "") -> Schedule:
    """SmoothCache's rule (arXiv 2411.10510): a component, in all blocks of a list, reuses its newest output as long as
    that is, on average over the blocks, less than `alpha` from what it would compute.

    SmoothCache measures distances in the L1 norm; these are Euclidean ones. A component that only feeds another one
    (`Component.feeds`) is recomputed with it: nobody else reads its output, and an output computed from an old one
    would be wrong.
    """
    shape = calibration.shape
    arrays = shape.filled(False)
    for block_list in shape.spec.block_lists:
        array, present = arrays[block_list.name], shape.present[block_list.name]
        for component in reversed(range(array.shape[2])):  # consumers first
            blocks = present[:, component]
            if not blocks.any():
                continue
            consumer = block_list.components[component].feeds
            if consumer is not None:
                array[:, :, component] = array[:, :, block_list.component_names.index(consumer)]
                continue
            errors = calibration.components[block_list.name][:, :, blocks, component].mean(axis=2)
            newest = 0
            for step in range(1, shape.steps):
                if errors[newest, step] >= alpha:
                    array[step, :, component] = True
                    newest = step
    return Schedule(shape.family, arrays, name=name)


def smooth_of_share(calibration: Calibration, share: float) -> Schedule:
    """SmoothCache with about the smallest threshold that recomputes at most this share of all components.

    The share must be at least that of step 0 alone.
    """
    share = max(share, 1.0 / calibration.shape.steps)
    low, high = 0.0, 2.0 + max(float(values.max()) for values in calibration.components.values())
    for _ in range(30):
        middle = (low + high) / 2
        if smooth_schedule(calibration, middle).recompute_fraction() > share:
            low = middle
        else:
            high = middle
    alpha = float(f"{high:.4g}")  # as in the name
    while smooth_schedule(calibration, alpha).recompute_fraction() > share:
        alpha = float(f"{1.001 * alpha:.4g}")
    return smooth_schedule(calibration, alpha, name=f"smooth:{alpha:g}")


def _shown(value: object) -> str:
    return "none" if value is None else one_line(value)[:_MOST_CHARACTERS]


def _rounded(values: FloatArray) -> Any:
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        exponent = np.where(exact > 0, np.floor(np.log10(np.maximum(exact, 1e-300))), 0.0)
    scale = 10.0 ** (_DIGITS - 1 - exponent)
    return (np.round(exact * scale) / scale).tolist()
