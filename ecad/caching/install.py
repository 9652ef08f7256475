"""`ecad.apply`, `ecad.remove` and `ecad.applied`: put a schedule on a pipeline and take it off again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, SupportsIndex

from torch import nn

from ecad.caching.blocks import KnownBlock, known_block
from ecad.caching.checks import check_model, is_compiled, refuse_later_tools
from ecad.caching.clock import CountingClock, SchedulerClock, StepClock
from ecad.caching.compiling import bring_back, set_aside, skip
from ecad.caching.context import CacheContextWatch
from ecad.caching.hook import add_block_hook, add_component_hook, add_transformer_hook, remove_hook
from ecad.caching.inputs import inputs_of
from ecad.caching.modules import Key, are_watched, blocks_of, component_modules, modules_beside_blocks
from ecad.caching.note import note_of_transfer
from ecad.caching.state import CacheSnapshot, CacheState
from ecad.caching.stores import new_store
from ecad.caching.targets import find_transformer, forget_cached_registries
from ecad.errors import ScheduleError
from ecad.families import get_family
from ecad.schedule.files import load_schedule
from ecad.schedule.schedule import Schedule

FOLLOW_CALL = "resample"  # a value of `steps`

_LOGGER = logging.getLogger("ecad")
_ATTRIBUTE = "_ecad_applied"  # on the transformer, while a schedule is applied


class AppliedSchedule:
    """A schedule that is applied to a transformer; what `ecad.apply` returns."""

    def __init__(
        self,
        transformer: nn.Module,
        state: CacheState,
        components: dict[Key, nn.Module],
        blocks: Sequence[tuple[nn.Module, KnownBlock, tuple[Key, ...]]],
        sums_are_asked_for: bool = False,
    ) -> None:
        self._sums_are_asked_for = sums_are_asked_for
        self._transformer = transformer
        self._family = get_family(state.schedule.family)
        self._state = state
        self._blocks = blocks  # that are decided as a whole
        self._components = components  # of the other blocks
        self._modules: list[nn.Module] = []  # that have hooks
        self._context = CacheContextWatch(transformer)
        self._forward_hooks: list[Any] = []  # torch's handles

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Neither copied nor pickled: what is stored belongs to the call that made it."""
        raise ScheduleError(
            f"a schedule ({self.schedule.name!r}) is applied to this model, so it can be neither copied nor pickled: "
            "call ecad.remove(...) first, and apply it again afterwards"
        )

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

    def keep_everything(self, keep: bool) -> None:
        """From now on, store also the outputs that no later step of this schedule reads: others may, see `snapshot`.

        ValueError if sums were asked for, which belong to one schedule.
        """
        if keep and self._state.summed_runs:
            if self._sums_are_asked_for:
                raise ValueError(
                    "sums belong to one schedule: apply it without summed_runs=True to keep everything"
                )
            self._state.do_without_sums()
        self._state.keeps_everything = keep

    def snapshot(self) -> CacheSnapshot:
        """What is stored between two steps of a call, for `restore` under a schedule with the same steps so far.

        Everything must have been kept until here (`keep_everything`). Tensors are shared, not copied.
        """
        return self._state.snapshot()

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Go on in the middle of a call, as if this schedule had been applied from its first step.

        The caller restores what is not ours: latents, scheduler, generators (`ecad.sampling.denoising.Denoising`).
        """
        self._state.restore(snapshot)

    def remove(self) -> None:
        """Restore the untouched model. Calling it again does nothing."""
        for handle in self._forward_hooks:
            handle.remove()
        self._forward_hooks.clear()
        self._context.remove()
        for module in self._modules:
            remove_hook(module)
        self._modules.clear()
        self._state.clear()
        self._transformer.__dict__.pop(_ATTRIBUTE, None)
        forget_cached_registries(self._transformer)

    def _install(self) -> None:
        try:
            together: dict[str, list[nn.Module]] = {}
            for block, _, keys in self._blocks:
                together.setdefault(keys[0][0], []).append(block)
            for block, known, keys in self._blocks:
                self._modules.append(block)
                add_block_hook(block, self._state, known, keys, together[keys[0][0]])
            for key, module in self._components.items():
                self._modules.append(module)
                add_component_hook(module, self._state, key)
            if self._state.schedule.reuses_output:
                self._modules.append(self._transformer)
                add_transformer_hook(self._transformer, self._state)
            # Torch's hooks and not a replaced forward: offloading tools replace and restore the transformer's
            # forward in their own order, and these hooks are indifferent to that.
            self._forward_hooks += [
                self._transformer.register_forward_pre_hook(self._before_forward, with_kwargs=True),
                self._transformer.register_forward_hook(self._after_forward),
                self._transformer.register_forward_hook(self._finish_forward, always_call=True),
            ]
            for module in modules_beside_blocks(self._transformer, self._family):
                self._forward_hooks += self._state.compiling.given_back(module)
            self._context.install()
            self._transformer.__dict__[_ATTRIBUTE] = self
            forget_cached_registries(self._transformer)
        except BaseException:
            self.remove()
            raise

    @skip
    def _before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._state.compiling.begin(set_aside())
        inputs = inputs_of(self._transformer, args, kwargs)
        if self._state.begin_forward(self._context.current, inputs):
            refuse_later_tools(self._transformer)
            self._follow_replaced_modules()
            self._look_at_blocks()

    def _look_at_blocks(self) -> None:
        """Note what was done to blocks or inside of them meanwhile."""
        blocks = [block for each in self._family.block_lists for block in blocks_of(self._transformer, each)]
        parts = (part for block in blocks for part in block.modules() if part is not block)
        self._state.compiling.has_compiled_parts = any(map(is_compiled, parts))
        if self._state.summed_runs and are_watched(blocks):
            if self._sums_are_asked_for:
                raise ScheduleError(
                    "a hook on a block would see the sums of several (register_forward_hook): apply the schedule "
                    "without summed_runs=True"
                )
            self._state.do_without_sums()

    def _follow_replaced_modules(self) -> None:
        """Hook what is at the components' places now.

        An adapter that was loaded meanwhile has wrapped a layer that is a component itself, or was taken off again.
        """
        if not self._components:
            return
        current = component_modules(self._transformer, self._family)
        for key, known in self._components.items():
            module = current[key]
            if module is not known:
                remove_hook(known)
                self._modules.remove(known)
                self._modules.append(module)
                add_component_hook(module, self._state, key)
        self._components = {key: current[key] for key in self._components}

    @skip
    def _after_forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._state.end_forward(output)
        self._state.compiling.end(output)

    @skip
    def _finish_forward(self, *_: Any) -> None:
        bring_back(self._state.compiling.finish())


def apply(
    target: Any,
    schedule: Schedule | str | os.PathLike[str],
    *,
    steps: int | str | None = None,
    fast_path: bool = True,
    summed_runs: bool | None = None,
    store: str | None = None,
) -> AppliedSchedule:
    """Make a diffusers pipeline (or a bare transformer) follow a schedule from its next call on.

    `schedule` is a `Schedule`, a file (YAML of ecad, JSON of the official implementation), the name of one that ships
    with ecad ("pixart-mini/fast"), or an address ("hf://owner/name/fast.yaml", "https://host/fast.yaml#sha256=HEX").

    Every pipeline of the model's transformer class will do (text-to-image, image-to-image, inpainting, ...).
    `num_inference_steps` of a call must be the schedule's. Image-to-image with `strength` runs only the last
    steps of them: it enters the schedule at its own first step k, recomputes everything there, since nothing is
    stored yet, and follows rows k + 1, k + 2, ... as they are. Where a pipeline runs the transformer twice a step
    (FLUX with `true_cfg_scale`), each of the two passes keeps outputs of its own: twice the memory.

    Values that nobody would read are not computed (see `ecad.schedule.effective`). LoRA adapters, IP-Adapters,
    fused projections, quantised layers and offloading may be there before or come after; a component is called
    or not called as a whole, whatever is inside. A transformer without a pipeline counts its forwards: call
    `reset()` on the result between images.

    `steps` is for calls with another number of steps than the schedule's: a number resamples the schedule to it at
    once (`Schedule.resample`), "resample" does so for whatever number each call has. Without it such a call is
    refused. A schedule that was learnt on another model of the same blocks is applied, and a note logged (logger
    "ecad", level INFO): its quality there is not known, as it is not after resampling.

    `fast_path` decides blocks of known classes (PixArt, FLUX) as a whole and computes nothing of a reused one that
    nobody reads; where everything is recomputed, to the last bit what the model does. Without it, and for all other
    blocks, every component has a hook of its own: norms and modulations of reused components still run.

    `summed_runs` reads stretches of fully reused blocks as three sums where the model allows it (PixArt) and it pays:
    less traffic, and less memory. Sums differ from what blocks would add one after the other in the last bits (float32)
    or by less than bfloat16's own rounding. False: never. By default (None) not where somebody looks at blocks one by
    one (a hook on a block, `keep_everything`); True refuses these.

    `store` saves a GPU's memory: "bfloat16" keeps outputs of a float32 model in half of it, rounded (sums stay as they
    are); "cpu" keeps them in the host's memory, bit for bit, and fetches those of a block while the one before runs.

    The model may be compiled, before or after, as a whole or block by block: what blocks compute for each pattern of
    recompute and reuse is compiled once, with the options that were given; the code round the blocks runs as Python.

    Raises ScheduleError if the schedule does not fit the model, or if a schedule or another cache is already
    installed, and ModelError if its class is unknown or a forward was replaced by a compiled function; the model is
    then untouched. What can be known only when the pipeline is called (its number of steps) is checked there, before
    any step.
    """
    if not isinstance(schedule, Schedule):
        schedule = load_schedule(schedule)
    follows_call = steps == FOLLOW_CALL
    if isinstance(steps, str) and not follows_call:
        raise ScheduleError(f"steps must be a number of steps or {FOLLOW_CALL!r}, not {steps!r}")
    if steps is not None and not isinstance(steps, str):
        schedule = schedule.resample(steps)
    new_store(store)
    pipeline, transformer = find_transformer(target)
    current: AppliedSchedule | None = transformer.__dict__.get(_ATTRIBUTE)
    if current is not None:
        raise ScheduleError(
            f"a schedule ({current.schedule.name!r}) is already applied to this model: "
            "call ecad.remove(pipe) first"
        )
    components = check_model(pipeline, transformer, schedule)
    clock: StepClock
    if pipeline is None:
        if follows_call:
            raise ScheduleError(
                "steps='resample' needs a pipeline, whose scheduler knows the number of steps: give the number "
                "(steps=30) for a transformer alone"
            )
        clock = CountingClock(schedule.steps)
    else:
        # Families whose pipelines know several passes a step have cache contexts, even where one does not use them.
        numbers_passes = CacheContextWatch.fits(transformer)
        clock = SchedulerClock(pipeline, None if follows_call else schedule.steps, numbers_passes)
    blocks = _known_blocks(transformer, schedule, components) if fast_path else []
    by_block = {key for _, _, keys in blocks for key in keys}
    by_hooks = {key: module for key, module in components.items() if key not in by_block}
    # Sums go through all blocks of a list: every one must be decided as a whole, and on one device.
    devices = {parameter.device for block, _, _ in blocks for parameter in block.parameters(recurse=False)}
    can_sum = not by_hooks and len(devices) == 1 and not are_watched(block for block, _, _ in blocks)
    sums = can_sum and summed_runs is not False
    state = CacheState(schedule, clock, components, sums, store)
    result = AppliedSchedule(transformer, state, by_hooks, blocks, sums_are_asked_for=summed_runs is True)
    result._install()
    note = note_of_transfer(pipeline, transformer, schedule)
    if note is not None:
        _LOGGER.info(note)
    return result


def _known_blocks(
    transformer: nn.Module, schedule: Schedule, components: Iterable[Key]
) -> list[tuple[nn.Module, KnownBlock, tuple[Key, ...]]]:
    """The blocks that can be decided as a whole, with the code for each and the keys of its components."""
    keys_of: dict[tuple[str, int], list[Key]] = {}
    for key in components:
        keys_of.setdefault(key[:2], []).append(key)
    found, others = [], set()
    for block_list in schedule.spec.block_lists:
        for number, block in enumerate(blocks_of(transformer, block_list)):
            keys = tuple(keys_of[block_list.name, number])
            names = tuple(block_list.component_names[component] for _, _, component in keys)
            known = known_block(block, names)
            if known is None:
                others.add(type(block).__name__)
            else:
                found.append((block, known, keys))
    if others:
        _LOGGER.info("no fast path for blocks %s: their components have hooks", ", ".join(sorted(others)))
    return found


def remove(target: Any) -> None:
    """Restore the untouched pipeline, bit for bit. Without an applied schedule it does nothing."""
    _, transformer = find_transformer(target)
    current: AppliedSchedule | None = transformer.__dict__.get(_ATTRIBUTE)
    if current is not None:
        current.remove()


@contextmanager
def applied(
    target: Any,
    schedule: Schedule | str | os.PathLike[str],
    *,
    steps: int | str | None = None,
    fast_path: bool = True,
    summed_runs: bool | None = None,
    store: str | None = None,
) -> Iterator[AppliedSchedule]:
    """Context manager: `apply` at its start, `remove` at its end, also after an error."""
    result = apply(target, schedule, steps=steps, fast_path=fast_path, summed_runs=summed_runs, store=store)
    try:
        yield result
    finally:
        result.remove()
