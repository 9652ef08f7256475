"""What happens to the components of a model while a schedule is applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ecad.caching.clock import StepClock, Tick
from ecad.errors import ScheduleError
from ecad.schedule.schedule import Schedule

Key = tuple[str, int, int]  # block list, block, component


class CacheState:
    """The stored outputs and the decision, per component, to recompute or to reuse.

    Stored is the raw return value of the component module, exactly as it was returned (a tensor or a tuple);
    it is never written in place. A value is kept only while a later step will read it.
    """

    def __init__(self, schedule: Schedule, clock: StepClock) -> None:
        self.schedule = schedule
        self.clock = clock
        self.recomputed = 0  # module executions in the current call
        self.reused = 0
        # Plain nested lists: indexing them is several times faster than indexing numpy scalars.
        self._recompute: Mapping[str, list[list[list[bool]]]] = {
            name: array.tolist() for name, array in schedule.recompute.items()
        }
        self._store: dict[Key, Any] = {}
        self._tick: Tick | None = None
        self._ran: set[Key] = set()  # components that were called in the current forward

    def begin_forward(self) -> None:
        """Called before each forward of the transformer."""
        self._tick = None  # should the clock refuse, nothing may run on an old step
        tick = self.clock.tick()
        if tick.is_first:
            self.clear()
        self._ran.clear()
        self._tick = tick

    def clear(self) -> None:
        """Forget all stored outputs and counts."""
        self._store.clear()
        self._tick = None
        self.recomputed = 0
        self.reused = 0

    def reset(self) -> None:
        """Start over at step 0."""
        self.clear()
        self.clock.reset()

    @property
    def stored_outputs(self) -> int:
        """Number of outputs that are stored at the moment."""
        return len(self._store)

    def run(
        self, key: Key, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The component's output in the current step: recomputed, or the newest stored one."""
        tick = self._tick
        if tick is None:  # the block is used outside a forward of the transformer: not ours to cache
            return forward(*args, **kwargs)
        block_list, block, component = key
        if key in self._ran:
            raise ScheduleError(
                f"component {component} of {block_list}[{block}] was called twice in one forward (chunked "
                "feed-forward?): its outputs cannot be told apart, switch that off while a schedule is applied"
            )
        self._ran.add(key)
        plan = self._recompute[block_list]
        step = tick.step
        # The first step of a call recomputes everything, also where img2img starts in the middle.
        if tick.is_first or plan[step][block][component] or key not in self._store:
            output = forward(*args, **kwargs)
            self.recomputed += 1
        else:
            output = self._store[key]
            self.reused += 1
        is_read_next = step + 1 < len(plan) and not plan[step + 1][block][component]
        if is_read_next:
            self._store[key] = output
        else:
            self._store.pop(key, None)
        return output
