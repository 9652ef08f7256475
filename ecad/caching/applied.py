"""A schedule at work on one transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

from torch import nn

from ecad.caching.blocks import KnownBlock
from ecad.caching.checks import is_compiled, refuse_later_tools
from ecad.caching.compiling import bring_back, set_aside, skip
from ecad.caching.context import CacheContextWatch
from ecad.caching.hook import add_block_hook, add_component_hook, add_transformer_hook, remove_hook
from ecad.caching.inputs import inputs_of
from ecad.caching.modules import Key, are_watched, blocks_of, component_modules, modules_beside_blocks
from ecad.caching.state import CacheSnapshot, CacheState
from ecad.caching.targets import forget_cached_registries
from ecad.errors import ScheduleError
from ecad.families import get_family
from ecad.schedule.schedule import Schedule

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
        if self._state.held is not None:
            self._state.held.remove()
        self._transformer.__dict__.pop(_ATTRIBUTE, None)
        forget_cached_registries(self._transformer)

    def join(self, others: Sequence[AppliedSchedule]) -> None:
        """Tell this one of the other transformers' that take turns with it."""
        self._state.others = tuple(other._state for other in others)

    def install(self) -> None:
        """Put it on; if that fails, the model is untouched."""
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
        if inputs.only_fills_a_cache:
            self._state.let_pass()
            return
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


def applied_to(transformer: nn.Module) -> AppliedSchedule | None:
    """What is applied to this transformer."""
    found: AppliedSchedule | None = transformer.__dict__.get(_ATTRIBUTE)
    return found
