"""The cache schedule: for every step, block and component one bit, recompute or reuse."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ecad.arrays import BoolArray
from ecad.errors import ScheduleError
from ecad.families import Family, get_family
from ecad.schedule.resample import resample_steps
from ecad.schedule.shape import HOLDS_OUTPUT, ScheduleShape, checked_steps


@dataclass(frozen=True, eq=False)
class Schedule:
    """An immutable cache schedule.

    `recompute[block_list]` is a read-only bool array of shape (steps, blocks, components): True recomputes,
    False reuses the newest stored output. Step 0 always recomputes; input that says otherwise is read as
    recompute. Where a block does not have a component (`ScheduleShape.present`) there is no bit: False.
    `recompute_output`, a read-only bool array of shape (steps,), says the same of the transformer's whole output: where
    it is False nothing of the transformer runs, its last output is returned, and no other bit of that step is read:
    they are False. By default (None) the transformer runs in every step. `holds` says what the solver goes on with in
    such a step: that "output", or the clean sample predicted last ("denoised"), as a solver would that steps over the
    noise levels in between; it needs a pipeline's scheduler. `model` is what it was learnt on (name,
    height, width, ...), `provenance` where it came from; both are plain data that do not take part in equality.
    """

    family: str
    recompute: Mapping[str, BoolArray]
    name: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    recompute_output: BoolArray = None  # type: ignore[assignment]  # an array in every schedule
    holds: str = HOLDS_OUTPUT

    def __post_init__(self) -> None:
        spec = get_family(self.family)
        missing = [each for each in spec.block_lists if each.is_optional and each.name not in self.recompute]
        if {*self.recompute, *(each.name for each in missing)} != set(spec.block_list_names):
            raise ScheduleError(
                f"family {self.family!r} has the block lists {list(spec.block_list_names)}, "
                f"the schedule has {list(self.recompute)}"
            )
        arrays: dict[str, BoolArray] = {}
        every = next((len(array) for array in self.recompute.values()), 0)
        empty = {each.name: np.zeros((every, 0, len(each.components)), np.bool_) for each in missing}
        for block_list in spec.block_lists:
            array = np.array({**empty, **self.recompute}[block_list.name], dtype=np.bool_)
            if array.ndim != 3 or array.shape[2] != len(block_list.components):
                raise ScheduleError(
                    f"{block_list.name}: expected an array (steps, blocks, {len(block_list.components)} "
                    f"components {list(block_list.component_names)}), got the shape {array.shape}"
                )
            if array.shape[0] < 1:
                raise ScheduleError(f"{block_list.name}: a schedule needs at least one step")
            array[0] = True
            arrays[block_list.name] = array
        if len({array.shape[0] for array in arrays.values()}) != 1:
            steps = {name: array.shape[0] for name, array in arrays.items()}
            raise ScheduleError(f"all block lists must have the same number of steps, got {steps}")
        steps, blocks = next(iter(arrays.values())).shape[0], {name: a.shape[1] for name, a in arrays.items()}
        # The shape's own limits (number of steps and blocks) hold for every schedule.
        object.__setattr__(self, "_shape", ScheduleShape(self.family, steps, blocks, self.holds))
        output = self._checked_output(self.recompute_output, steps)
        object.__setattr__(self, "recompute_output", output)
        for name, array in arrays.items():
            array &= self.shape.present[name]  # what a block does not have is not recomputed
            array[~output] = False
            array.flags.writeable = False
        object.__setattr__(self, "recompute", MappingProxyType(arrays))
        object.__setattr__(self, "model", MappingProxyType(dict(self.model)))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    @staticmethod
    def _checked_output(given: BoolArray | None, steps: int) -> BoolArray:
        output = np.ones(steps, dtype=np.bool_) if given is None else np.array(given, dtype=np.bool_)
        if output.shape != (steps,):
            raise ScheduleError(
                f"the whole output: expected an array ({steps} steps,), got the shape {output.shape}"
            )
        output[0] = True
        output.flags.writeable = False
        return output

    @property
    def spec(self) -> Family:
        return get_family(self.family)

    @property
    def shape(self) -> ScheduleShape:
        return self._shape  # type: ignore[attr-defined, no-any-return]

    @property
    def steps(self) -> int:
        return self.shape.steps

    @classmethod
    def all_recompute(cls, shape: ScheduleShape, name: str = "all") -> Schedule:
        """The schedule that reuses nothing: bit-identical to the untouched pipeline."""
        return cls(shape.family, shape.filled(True), name=name)

    def with_step(
        self, step: int, value: bool, block_list: str | None = None, component: str | None = None
    ) -> Schedule:
        """A new schedule with one step set to `value`, in all block lists and components or only the named.

        What is to be recomputed needs the transformer: in that step it runs.
        """
        if not 0 <= step < self.steps:
            raise ScheduleError(f"step {step} is outside this schedule's steps 0 to {self.steps - 1}")
        names = self.spec.block_list_names if block_list is None else (block_list,)
        arrays = {name: array.copy() for name, array in self.recompute.items()}
        hits = 0
        for name in names:
            if name not in arrays:
                raise ScheduleError(f"no block list {name!r}, only {list(self.spec.block_list_names)}")
            for index, known in enumerate(self.spec.block_list(name).component_names):
                if component in (None, known):
                    arrays[name][step, :, index] = value
                    hits += 1
        if not hits:
            raise ScheduleError(f"no component {component!r} in {list(names)}")
        output = self.recompute_output.copy()
        output[step] |= value
        return self.replace(recompute=arrays, recompute_output=output)

    def replace(self, **changes: Any) -> Schedule:
        """A new schedule with some attributes changed."""
        values: dict[str, Any] = {
            "family": self.family,
            "recompute": self.recompute,
            "name": self.name,
            "model": self.model,
            "provenance": self.provenance,
            "recompute_output": self.recompute_output,
            "holds": self.holds,
        }
        return Schedule(**{**values, **changes})

    def resample(self, steps: int) -> Schedule:
        """The same pattern over another number of steps; `ecad.schedule.resample` has the formula.

        Every component keeps its share of the compute but for less than one step. Its quality with that number of
        steps is not known. As many steps as before: this schedule itself.
        """
        steps = checked_steps(steps)
        if steps == self.steps:
            return self
        origin = {"steps": self.steps, "digest": self.digest()}
        arrays = {name: resample_steps(array, steps) for name, array in self.recompute.items()}
        # Rounded on its own, the whole output could be reused where a component is to be recomputed: that one wins.
        output = resample_steps(self.recompute_output.reshape(-1, 1, 1), steps).ravel()
        for array in arrays.values():
            output |= array.any(axis=(1, 2))
        return self.replace(
            recompute=arrays,
            recompute_output=output,
            provenance={**self.provenance, "resampled_from": origin},
        )

    @property
    def reuses_output(self) -> bool:
        """Whether there are steps in which nothing of the transformer runs."""
        return not bool(self.recompute_output.all())

    @property
    def transformer_runs(self) -> int:
        """Number of steps in which the transformer runs, be it that all components are reused."""
        return int(self.recompute_output.sum())

    def recompute_fraction(self) -> float:
        """Share of all (step, block, component) entries that recompute."""
        ones = sum(int(array.sum()) for array in self.recompute.values())
        return ones / sum(self.steps * int(present.sum()) for present in self.shape.present.values())

    def recompute_counts(self) -> dict[tuple[str, str], int]:
        """(block list, component) -> number of (step, block) pairs that recompute it."""
        return {
            (block_list.name, component): int(self.recompute[block_list.name][:, :, index].sum())
            for block_list in self.spec.block_lists
            for index, component in enumerate(block_list.component_names)
        }

    def digest(self) -> str:
        """SHA-256 of the content (family, shape, bits, what is held if anything is) in hex; names and provenance do not
        count."""
        content = hashlib.sha256(self.family.encode())
        for name, array in self.recompute.items():
            if not array.shape[1]:  # an optional list, without which the schedule is the same
                continue
            content.update(f"|{name}:{array.shape}|".encode())
            content.update(np.packbits(array).tobytes())
        if self.reuses_output:
            content.update(b"|whole output|" + np.packbits(self.recompute_output).tobytes())
            if self.holds != HOLDS_OUTPUT:
                content.update(f"|{self.holds}|".encode())
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.recompute_output, other.recompute_output)
            and (self.holds == other.holds or not self.reuses_output)
            and all(np.array_equal(array, other.recompute[name]) for name, array in self.recompute.items())
        )

    def __hash__(self) -> int:
        return hash(self.digest())

    def __reduce__(self) -> tuple[Any, ...]:
        arrays, model, provenance = dict(self.recompute), dict(self.model), dict(self.provenance)
        output = self.recompute_output
        return Schedule, (self.family, arrays, self.name, model, provenance, output, self.holds)

    def __repr__(self) -> str:
        title = f"{self.name!r}, " if self.name else ""
        return f"<Schedule {title}{self.shape.describe()}, {self.recompute_fraction():.0%} recomputed>"
