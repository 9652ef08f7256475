"""One tiny pipeline of each family with what the tests of caching need to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from ecad.schedule import Schedule, ScheduleShape, heuristic

STEPS = 6


class Wrapper(torch.nn.Module):
    """Holds a module, so that a hook on `inner` sees whether it really ran."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


@dataclass
class Case:
    """A pipeline, the shape of its schedules, and how it is called."""

    pipe: Any
    shape: ScheduleShape
    arguments: Mapping[str, Any]
    callback: str  # the argument for a callback after every step
    total: int = field(init=False)  # components that run in one uncached forward
    steps: int = STEPS

    def __post_init__(self) -> None:
        self.total = sum(blocks * parts for _, blocks, parts in self.shape.array_shapes().values())

    def run(self, prompt: Any = "a red circle", seed: int = 0, **arguments: Any) -> np.ndarray:
        """Images of the pipeline, shape (n, 16, 16, 3), float."""
        settings = {
            "num_inference_steps": STEPS,
            "max_sequence_length": 12,
            "output_type": "np",
            "generator": torch.Generator().manual_seed(seed),
            **self.arguments,
        }
        return np.asarray(self.pipe(prompt, **{**settings, **arguments}).images)

    def run_noting(self, note: Callable[[int], None], **arguments: Any) -> np.ndarray:
        """The same, with `note(step)` after every step."""

        def after_old(step: int, *_: Any) -> None:
            note(step)

        def after(_: Any, step: int, *__: Any) -> dict[str, Any]:
            note(step)
            return {}

        return self.run(**{self.callback: after_old if self.callback == "callback" else after}, **arguments)

    def heuristic(self, name: str) -> Schedule:
        return heuristic(name, self.shape)

    def random_schedule(self, seed: int, probability: float = 0.5) -> Schedule:
        return self.heuristic(f"random:{probability}:{seed}")

    def mixed_schedule(self, seed: int) -> Schedule:
        """A random one in which the whole output is reused in some steps."""
        runs = np.random.default_rng(seed).permutation(STEPS) < STEPS // 2
        return self.random_schedule(seed).replace(recompute_output=runs)

    def components(self) -> Iterator[tuple[str, int, int, torch.nn.Module, str]]:
        """(block list, block, component, block module, attribute) of everything that can be cached."""
        for block_list in self.shape.spec.block_lists:
            for index, block in enumerate(getattr(self.pipe.transformer, block_list.name)):
                for component, name in enumerate(block_list.component_names):
                    yield block_list.name, index, component, block, name

    @contextmanager
    def recorded_executions(self) -> Iterator[dict[str, np.ndarray]]:
        """How often each component really computes: block list -> int array (steps, blocks, components)."""
        executed = {name: np.zeros(size, dtype=np.int64) for name, size in self.shape.array_shapes().items()}
        originals = []

        def hook_for(name: str, block: int, component: int) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                executed[name][self.step(), block, component] += 1

            return hook

        for name, index, component, block, attribute in self.components():
            original = getattr(block, attribute)
            handle = original.register_forward_hook(hook_for(name, index, component))
            setattr(block, attribute, Wrapper(original))
            originals.append((block, attribute, original, handle))
        try:
            yield executed
        finally:
            for block, attribute, original, handle in originals:
                setattr(block, attribute, original)
                handle.remove()

    def transformer_inputs(self, step: int) -> dict[str, Any]:
        """Arguments of one forward of the bare transformer."""
        generator = torch.Generator().manual_seed(step)
        if self.shape.family == "pixart":
            return {
                "hidden_states": torch.randn(1, 4, 8, 8, generator=generator),
                "encoder_hidden_states": torch.ones(1, 4, 16),
                "timestep": torch.tensor([900 - 100 * step]),
                "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
            }
        return {
            "hidden_states": torch.randn(1, 16, 16, generator=generator),
            "encoder_hidden_states": torch.ones(1, 4, 16),
            "pooled_projections": torch.ones(1, 16),
            "timestep": torch.tensor([0.9 - 0.1 * step]),
            "guidance": torch.tensor([3.5]),
            "txt_ids": torch.zeros(4, 3),
            "img_ids": torch.zeros(16, 3),
        }

    def step(self) -> int:
        scheduler = self.pipe.scheduler
        return scheduler.step_index if scheduler.step_index is not None else scheduler.begin_index or 0

    def reference_images(self, schedule: Schedule, **arguments: Any) -> np.ndarray:
        """What `run` must give, by the plainest possible implementation.

        Forwards are replaced by hand, nothing is left out, everything is kept for ever; several calls of a
        component in one step belong to different passes.
        """
        stored: dict[Any, Any] = {}
        calls: dict[Any, int] = {}
        transformer = self.pipe.transformer

        def whole(*args: Any, _original: Any = transformer.forward, **kwargs: Any) -> Any:
            step = self.step()
            number = calls[step] = calls.get(step, 0) + 1
            if schedule.recompute_output[step] or number not in stored:
                stored[number] = _original(*args, **kwargs)
            return stored[number]

        transformer.forward = whole
        replaced = [transformer]
        for name, index, component, block, attribute in self.components():
            module = getattr(block, attribute)

            def forward(
                *args: Any,
                _original: Any = module.forward,
                _key: Any = (name, index, component),
                **kwargs: Any,
            ) -> Any:
                step = self.step()
                number = calls[_key, step] = calls.get((_key, step), 0) + 1
                if schedule.recompute[_key[0]][step, _key[1], _key[2]] or (_key, number) not in stored:
                    stored[_key, number] = _original(*args, **kwargs)
                return stored[_key, number]

            module.forward = forward
            replaced.append(module)
        try:
            return self.run(**arguments)
        finally:
            for module in replaced:
                del module.forward


FAMILIES = ("pixart", "flux")


@pytest.fixture(params=FAMILIES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every family in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def pixart(tiny_pipe: Any) -> Case:
    return Case(
        tiny_pipe,
        ScheduleShape("pixart", STEPS, {"transformer_blocks": 3}),
        {"use_resolution_binning": False, "clean_caption": False},
        "callback",
    )


@pytest.fixture
def flux(tiny_flux_pipe: Any) -> Case:
    return Case(
        tiny_flux_pipe,
        ScheduleShape("flux", STEPS, {"transformer_blocks": 2, "single_transformer_blocks": 3}),
        {"height": 16, "width": 16},
        "callback_on_step_end",
    )
