"""Tiny random transformers of diffusers' own classes, and what the conformance tests need to know about each.

Every family has a file in `models/` with `MODELS`: one `TinyTransformer` per transformer class, or several where blocks
differ by configuration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch

from ecad.caching.hook import HOOK_NAME
from ecad.caching.modules import component_modules, named_components
from ecad.families import Family, family_of_transformer
from ecad.schedule import Schedule, ScheduleShape, heuristic

STEPS = 4


@dataclass(frozen=True)
class TinyTransformer:
    """A class of diffusers, the arguments it is made with, and those of its forward.

    `inputs(rows, size, step)`: keyword arguments of one forward for so many rows, of a picture whose latents are `size`
    (1 or 2) times as large each way, at a step of `STEPS`: the same arguments give the same tensors, another step gives
    others and an earlier (larger) timestep comes first. `name` tells apart several of one class. `without_timestep` are
    the block lists ("refiner") or components ("layers.mlp") that see neither timestep nor latents, so that reusing
    their outputs changes nothing, `unread` the components whose outputs nobody reads though the block makes them
    ("transformer_blocks[2].txt_ff").
    """

    class_name: str
    config: Mapping[str, Any]
    inputs: Callable[[int, int, int], dict[str, Any]]
    name: str = ""
    without_timestep: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.class_name}-{self.name}" if self.name else self.class_name

    @property
    def is_there(self) -> bool:
        """Whether the installed diffusers has the class, with all that it is configured with."""
        kind = getattr(diffusers, self.class_name, None)
        return kind is not None and self.config.keys() <= signature(kind.__init__).parameters.keys()

    def build(self) -> Any:
        """The transformer, with weights of a fixed seed with which every block matters."""
        torch.manual_seed(0)
        model = getattr(diffusers, self.class_name)(**self.config)
        redraw(model)
        return model.eval().requires_grad_(False)


def redraw(model: torch.nn.Module) -> None:
    """Weights with which every component shows in the output: modules often begin as zero or nearly so."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        is_gate = "table" in name or name.endswith("gate")
        if parameter.ndim < 2 and not is_gate:
            continue
        fan_in = math.prod(parameter.shape[1:])
        std = 0.3 if is_gate else fan_in**-0.5
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def timestep_of(step: int, rows: int, scale: float = 1000.0) -> torch.Tensor:
    """Falling timesteps, shape (rows,)."""
    return torch.full((rows,), scale * (0.9 - 0.2 * step))


def tiny_transformers() -> list[TinyTransformer]:
    """All of `models/`."""
    names = sorted(path.stem for path in (Path(__file__).parent / "models").glob("*.py"))
    return [each for name in names for each in import_module(f"conformance.models.{name}").MODELS]


class Subject:
    """A tiny transformer that was built, and ways to run it."""

    def __init__(self, tiny: TinyTransformer) -> None:
        self.tiny = tiny
        self.transformer = tiny.build()
        self.family: Family = family_of_transformer(tiny.class_name)
        blocks = self.family.block_counts(self.transformer.config)
        self.shape = ScheduleShape(self.family.name, STEPS, blocks)

    def heuristic(self, name: str) -> Schedule:
        return heuristic(name, self.shape)

    def components(self) -> Iterator[tuple[str, int, int, torch.nn.Module]]:
        """(block list, block, component, module) of everything that can be cached."""
        for key, module in component_modules(self.transformer, self.family).items():
            yield (*key, module)

    def names(self) -> list[str]:
        return [name for name, _ in named_components(self.transformer, self.family)]

    def forward(self, step: int, rows: int = 2, size: int = 1) -> tuple[torch.Tensor, ...]:
        """All tensors of one forward's output."""
        with torch.no_grad():
            output = self.transformer(**self.tiny.inputs(rows, size, step), return_dict=False)
        return tuple(tensors_of(output))

    def run(self, rows: int = 2, size: int = 1) -> list[tuple[torch.Tensor, ...]]:
        """The outputs of all steps of one image."""
        return [self.forward(step, rows, size) for step in range(STEPS)]

    def reference(self, schedule: Schedule) -> list[tuple[torch.Tensor, ...]]:
        """What `run` must give, by the plainest possible implementation.

        Forwards are replaced by hand, nothing is left out, everything is kept for ever. A component that is called
        several times in a forward has an output for each.
        """
        stored: dict[Any, Any] = {}
        calls: dict[Any, int] = {}
        now = [0]
        replaced = []
        for name, block, component, module in self.components():

            def forward(
                *args: Any,
                _original: Any = module.forward,
                _key: Any = (name, block, component),
                **kwargs: Any,
            ) -> Any:
                step = now[0]
                number = calls[_key, step] = calls.get((_key, step), 0) + 1
                if schedule.recompute[_key[0]][step, _key[1], _key[2]] or (_key, number) not in stored:
                    stored[_key, number] = _original(*args, **kwargs)
                return stored[_key, number]

            module.forward = forward
            replaced.append(module)
        found: list[tuple[torch.Tensor, ...]] = []
        try:
            for step in range(STEPS):
                now[0] = step
                found.append(self.forward(step) if schedule.recompute_output[step] else found[-1])
        finally:
            for module in replaced:
                del module.forward
        return found

    @contextmanager
    def executions(self) -> Iterator[list[int]]:
        """Counts in [0] how often components really compute; only while a schedule is applied without fast path."""
        count = [0]
        references = [module._diffusers_hook.hooks[HOOK_NAME].fn_ref for *_, module in self.components()]
        originals = [reference.original_forward for reference in references]

        def counted(forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                count[0] += 1
                return forward(*args, **kwargs)

            return run

        for reference, original in zip(references, originals, strict=True):
            reference.original_forward = counted(original)
        try:
            yield count
        finally:
            for reference, original in zip(references, originals, strict=True):
                reference.original_forward = original


class StandIn:
    """A pipeline as far as `ecad.apply` looks: a transformer, and a scheduler that says which step it is."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()

    def begin(self) -> None:
        self.scheduler.set_timesteps(STEPS)

    def advance(self) -> None:
        """One step of the scheduler, on numbers that do not matter."""
        step = self.scheduler.step_index or 0
        self.scheduler.step(torch.zeros(1), self.scheduler.timesteps[step], torch.zeros(1))


def tensors_of(output: Any) -> Iterator[torch.Tensor]:
    """All tensors in what a module returns, in order."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_of(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from tensors_of(value)


def equal(one: list[tuple[torch.Tensor, ...]], other: list[tuple[torch.Tensor, ...]]) -> bool:
    """To the last bit, and as many."""
    return len(one) == len(other) and all(
        len(first) == len(second) and all(map(torch.equal, first, second))
        for first, second in zip(one, other, strict=True)
    )
