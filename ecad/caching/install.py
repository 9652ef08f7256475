"""`ecad.apply`, `ecad.remove` and `ecad.applied`: put a schedule on a pipeline and take it off again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ecad.caching.clock import CountingClock, SchedulerClock, StepClock
from ecad.caching.hook import HOOK_NAME, add_component_hook, remove_component_hook
from ecad.caching.state import CacheState, Key
from ecad.errors import ModelError, ScheduleError
from ecad.models import ModelSpec, family_of_transformer
from ecad.schedule.files import load_schedule
from ecad.schedule.schedule import Schedule

_ATTRIBUTE = "_ecad_applied"  # on the transformer, while a schedule is applied


class AppliedSchedule:
    """A schedule that is applied to a transformer; what `ecad.apply` returns."""

    def __init__(self, transformer: nn.Module, state: CacheState) -> None:
        self._transformer = transformer
        self._state = state
        self._modules: list[nn.Module] = []
        self._pre_hook: Any = None

    @property
    def schedule(self) -> Schedule:
        return self._state.schedule

    @property
    def recomputed(self) -> int:
        """Component executions in the current (or last) pipeline call."""
        return self._state.recomputed

    @property
    def reused(self) -> int:
        """Component executions that the current (or last) pipeline call saved."""
        return self._state.reused

    @property
    def stored_outputs(self) -> int:
        """Component outputs that are held in memory now; 0 after a complete call."""
        return self._state.stored_outputs

    def reset(self) -> None:
        """Forget stored outputs and start at step 0: needed between images if there is no pipeline."""
        self._state.reset()

    def remove(self) -> None:
        """Restore the untouched model. Calling it again does nothing."""
        if self._pre_hook is not None:
            self._pre_hook.remove()
            self._pre_hook = None
        for module in self._modules:
            remove_component_hook(module)
        self._modules.clear()
        self._state.clear()
        self._transformer.__dict__.pop(_ATTRIBUTE, None)
        _forget_cached_registries(self._transformer)

    def _install(self, components: dict[Key, nn.Module]) -> None:
        try:
            for key, module in components.items():
                self._modules.append(module)
                add_component_hook(module, self._state, key)
            # A torch pre-hook and not a replaced forward: offloading tools replace and restore the transformer's
            # forward in their own order, and a pre-hook is indifferent to that.
            self._pre_hook = self._transformer.register_forward_pre_hook(self._on_forward)
            self._transformer.__dict__[_ATTRIBUTE] = self
            _forget_cached_registries(self._transformer)
        except BaseException:
            self.remove()
            raise

    def _on_forward(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._state.begin_forward()


def apply(target: Any, schedule: Schedule | str | os.PathLike[str]) -> AppliedSchedule:
    """Make a diffusers pipeline (or a bare transformer) follow a schedule from its next call on.

    `schedule` is a `Schedule`, a YAML file, or the name of one that ships with ecad ("pixart-mini/fast").
    Raises ScheduleError if it does not fit the model, or if a schedule or another cache is already installed;
    the model is then untouched. The number of steps is checked when the pipeline is called, before any step.
    """
    if not isinstance(schedule, Schedule):
        schedule = load_schedule(schedule)
    pipeline, transformer = _find_transformer(target)
    spec = _check(transformer, schedule)
    clock: StepClock
    if pipeline is None:
        clock = CountingClock(schedule.steps)
    else:
        clock = SchedulerClock(lambda: pipeline.scheduler, schedule.steps)
    result = AppliedSchedule(transformer, CacheState(schedule, clock))
    result._install(_component_modules(transformer, spec))
    return result


def remove(target: Any) -> None:
    """Restore the untouched pipeline, bit for bit. Without an applied schedule it does nothing."""
    _, transformer = _find_transformer(target)
    current: AppliedSchedule | None = transformer.__dict__.get(_ATTRIBUTE)
    if current is not None:
        current.remove()


@contextmanager
def applied(target: Any, schedule: Schedule | str | os.PathLike[str]) -> Iterator[AppliedSchedule]:
    """Context manager: `apply` at its start, `remove` at its end, also after an error."""
    result = apply(target, schedule)
    try:
        yield result
    finally:
        result.remove()


def _find_transformer(target: Any) -> tuple[Any | None, nn.Module]:
    """(pipeline or None, transformer); looks through a PEFT wrapper."""
    pipeline, transformer = None, target
    if not isinstance(target, nn.Module):
        pipeline, transformer = target, getattr(target, "transformer", None)
        if not isinstance(transformer, nn.Module):
            raise ModelError(
                f"{type(target).__name__} has no transformer to cache: expected a diffusers pipeline with a "
                "diffusion transformer, or the transformer itself"
            )
        if getattr(pipeline, "scheduler", None) is None:
            raise ModelError(
                f"{type(target).__name__} has no scheduler: apply the schedule to its transformer"
            )
    if hasattr(transformer, "get_base_model"):
        transformer = transformer.get_base_model()
    return pipeline, transformer


def _check(transformer: nn.Module, schedule: Schedule) -> ModelSpec:
    if hasattr(transformer, "_orig_mod") or getattr(transformer, "_compiled_call_impl", None) is not None:
        raise ModelError(
            "the transformer is compiled as a whole (torch.compile), so its components can no longer be reached: "
            "apply the schedule to the uncompiled pipeline"
        )
    spec = family_of_transformer(type(transformer).__name__)
    if spec.family != schedule.family:
        raise ScheduleError(
            f"the schedule is for family {schedule.family!r}, the model is a {type(transformer).__name__} "
            f"of family {spec.family!r}"
        )
    counts = {name: len(getattr(transformer, name)) for name in spec.block_list_names}
    if counts != dict(schedule.shape.blocks):
        raise ScheduleError(
            f"the schedule is for blocks {dict(schedule.shape.blocks)}, the model has {counts}"
        )
    if _ATTRIBUTE in transformer.__dict__:
        name = transformer.__dict__[_ATTRIBUTE].schedule.name
        raise ScheduleError(
            f"a schedule ({name!r}) is already applied to this model: call ecad.remove(pipe) first"
        )
    for module_name, module in transformer.named_modules():
        if getattr(module, "_chunk_size", None) is not None:
            raise ModelError(
                f"{module_name} uses chunked feed-forward, which calls its component several times a step: "
                "switch it off (set_chunk_feed_forward(None)) before applying a schedule"
            )
        foreign = _foreign_cache(module)
        if foreign:
            raise ScheduleError(
                f"another cache ({foreign!r}) is installed on {module_name or 'the transformer'}: "
                "disable it before applying a schedule"
            )
    return spec


def _foreign_cache(module: nn.Module) -> str | None:
    """Name of a cache of diffusers that sits on this module (see diffusers.hooks), or None."""
    registry = getattr(module, "_diffusers_hook", None)
    for name in registry.hooks if registry is not None else ():
        if name != HOOK_NAME and (
            "cache" in name or name.startswith(("pyramid_attention", "layer_skip", "fbc_"))
        ):
            return str(name)
    return None


def _component_modules(transformer: nn.Module, spec: ModelSpec) -> dict[Key, nn.Module]:
    modules: dict[Key, nn.Module] = {}
    for block_list in spec.block_lists:
        for block_index, block in enumerate(getattr(transformer, block_list.name)):
            for component_index, name in enumerate(block_list.component_names):
                module = getattr(block, name, None)
                if not isinstance(module, nn.Module):
                    raise ModelError(f"{block_list.name}[{block_index}] has no component {name!r} to cache")
                modules[block_list.name, block_index, component_index] = module
    return modules


def _forget_cached_registries(transformer: nn.Module) -> None:
    """diffusers caches the list of hooked children at the first use (issue 14037): make it look again."""
    for module in transformer.modules():
        registry = getattr(module, "_diffusers_hook", None)
        if registry is not None and hasattr(registry, "_child_registries_cache"):
            registry._child_registries_cache = None
