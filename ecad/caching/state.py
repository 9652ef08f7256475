"""What happens to the components of a model while a schedule is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import get_ident
from typing import Any

from ecad.caching.block_run import BlockRun, too_often
from ecad.caching.clock import Lane, StepClock, Tick
from ecad.caching.compiling import Compiling
from ecad.caching.held import HeldSample
from ecad.caching.inputs import Inputs
from ecad.caching.lanes import CacheSnapshot, LaneState, slot_of
from ecad.caching.modules import Key
from ecad.caching.plan import Plan
from ecad.caching.stores import HostStore
from ecad.caching.sums import Sums
from ecad.errors import ScheduleError
from ecad.schedule.schedule import Schedule

_GONE_ROUND = (
    "{} did not run under ecad's control: another tool has replaced the forward of the model, its blocks or its "
    "components; remove it, or apply the schedule after it"
)


class CacheState:
    """The stored outputs and the decision, per component, to recompute, to reuse, or to leave out.

    Stored is the raw return value of the component module, exactly as it was returned (a tensor or a tuple);
    it is never written in place. A value is kept only while a later step will read it.
    """

    def __init__(
        self,
        schedule: Schedule,
        clock: StepClock,
        keys: Iterable[Key] = (),
        summed_runs: bool = False,
        store: str | None = None,
        sums_everywhere: bool = False,
        held: HeldSample | None = None,
    ) -> None:
        self.schedule = schedule  # what is followed now
        self._given = schedule  # what it is resampled from, where the clock lets calls have other steps
        self.clock = clock
        self.recomputed = 0  # module executions in the current call
        self.reused = 0
        self.keeps_everything = False  # store also what no later step of this schedule reads
        # Read stretches of reused blocks as sums; not together with the former.
        self.summed_runs = summed_runs
        self._sums_everywhere = sums_everywhere  # where they save memory, too
        self._store = store  # where outputs are kept, see `ecad.caching.stores`
        self.held = held  # what the scheduler goes on with, if that is not the output
        self._keys = frozenset(keys)  # the components that a forward calls
        self._parts = {each.name: each.components for each in schedule.spec.block_lists}
        self._must_run = {key for key in self._keys if self._parts[key[0]][key[2]].in_every_pass}
        self._plans: dict[int, Plan] = {}  # by the first step of a call
        self._lanes: dict[Lane, LaneState] = {}
        self._tick: Tick | None = None  # of the forward that is running
        self._ran: dict[Key, int] = {}  # how often components were called in it
        self._done_ahead: dict[tuple[Key, ...], BlockRun] = {}  # what blocks that were done already find
        self._hooked_output = False  # whether the transformer itself was called in it through its hook
        self._thread = 0  # that runs it
        self._shared: dict[str, Any] = {}  # by the blocks of the forward that is running
        self._kept: dict[str, Any] = {}  # by the blocks, during a call
        self.compiling = Compiling()
        self.others: tuple[CacheState, ...] = ()  # of transformers that take turns with this one

    def begin_forward(self, context: str | None = None, inputs: Inputs | None = None) -> bool:
        """Called before each forward of the transformer; returns whether a call begins with it.

        `context` is the name of the open cache context, `inputs` what the forward is given.
        """
        was_running = self._tick is not None
        self._tick = None  # should the clock refuse, nothing may run on an old step
        tick = self.clock.tick(context, inputs)
        if was_running and not tick.starts_call and self._thread != get_ident():
            raise ScheduleError(
                "two threads run this transformer at once, which would mix up the stored outputs: give each thread a "
                "transformer of its own, or let one wait for the other"
            )
        self._thread = get_ident()
        if tick.starts_call:
            self.clear()
            for other in self.others:
                if tick.takes_over:
                    other.forget_lanes_before(tick.step)
                else:
                    other.clear()
            if tick.steps != self.schedule.steps:
                self.schedule = self._given.resample(tick.steps)
                self._plans.clear()
        self.forget_lanes_before(tick.step - 1)
        layout = None if inputs is None else inputs.layout
        lane = self._lanes.get(tick.lane)
        if lane is None or lane.layout != layout:
            # Guidance switched off, another size: what is stored fits nothing any more.
            tick = replace(tick, starts_lane=True)
        if lane is None or tick.starts_lane:
            # The first step recomputes everything, also where img2img enters the schedule in the middle.
            lane = self._lanes[tick.lane] = LaneState(self._plan_from(tick.step), layout, self._store)
        lane.step = tick.step
        self._ran.clear()
        self._done_ahead.clear()
        self._shared = {}
        self._hooked_output = False
        if self.held is not None and (self.schedule.reuses_output or self.keeps_everything):
            self.held.attach(tick.starts_call)
        self._tick = tick
        return tick.starts_call

    def let_pass(self) -> None:
        """A forward that no schedule is about begins."""
        self._tick = None

    def forget_lanes_before(self, step: int) -> None:
        """Drop what passes have stored that did not run from this step on: they would start anew."""
        for name in [name for name, lane in self._lanes.items() if lane.step < step]:
            del self._lanes[name]

    def end_forward(self, output: Any) -> None:
        """Called with the result of each forward that did not fail. Refuses one that went past the hooks."""
        tick, self._tick, self._shared = self._tick, None, {}
        if tick is not None and tick.step == tick.steps - 1:
            self._kept = {}
        if self._done_ahead:
            block_list, block, _ = next(iter(self._done_ahead))[0]
            raise ScheduleError(_GONE_ROUND.format(f"{block_list}[{block}]"))
        if tick is not None and self.keeps_everything:
            # A schedule that never reuses the whole output has no hook that stores it; another may go on from here.
            self._lanes[tick.lane].output = output
        if tick is not None and self.held is not None:
            plan = self._lanes[tick.lane].plan
            keeps = self.keeps_everything or plan.keeps_output[tick.step]
            self.held.note(tick.step, plan.runs_output[tick.step], keeps)
        if tick is not None and self.schedule.reuses_output and not self._hooked_output:
            raise ScheduleError(_GONE_ROUND.format("the transformer"))
        # Later passes may leave blocks out on purpose (skip-layer guidance).
        if tick is not None and tick.starts_call and not self._must_run <= self._ran.keys():
            block_list, block, component = min(self._must_run - self._ran.keys())
            name = self.schedule.spec.block_list(block_list).component_names[component]
            raise ScheduleError(_GONE_ROUND.format(f"{block_list}[{block}].{name}"))

    def clear(self) -> None:
        """Forget all stored outputs and counts."""
        self._lanes.clear()
        self._kept = {}
        self._tick = None
        if self.held is not None:
            self.held.clear()
        self.recomputed = 0
        self.reused = 0

    def do_without_sums(self) -> None:
        """From now on read blocks one by one; only before anything is stored in a call."""
        self.summed_runs = False
        self._plans.clear()
        for lane in self._lanes.values():
            lane.plan = self._plan_from(lane.plan.first_step)

    def reset(self) -> None:
        """Start over at step 0."""
        self.clear()
        self.clock.reset()

    def snapshot(self) -> CacheSnapshot:
        """The state between two steps. It serves another schedule only if `keeps_everything` was set until now."""
        lanes = {name: lane.snapshot() for name, lane in self._lanes.items()}
        denoised = None if self.held is None else self.held.denoised
        return CacheSnapshot(self.clock.position(), self._store, lanes, denoised)

    def restore(self, snapshot: CacheSnapshot) -> None:
        """Go on from there under this schedule, which did the same in all steps before."""
        if snapshot.store != self._store:
            raise ScheduleError(f"the snapshot was taken with store={snapshot.store!r}, not {self._store!r}")
        self.clear()
        self.clock.go_to(snapshot.position)
        for name, saved in snapshot.lanes.items():
            self._lanes[name] = LaneState.of(saved, self._plan_from(saved.first_step), self._store)
        if self.held is not None:
            self.held.denoised = snapshot.denoised

    @property
    def stored_outputs(self) -> int:
        """Number of outputs that are stored at the moment."""
        return sum(lane.stored_outputs for lane in self._lanes.values())

    def run_transformer(
        self, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The transformer's own output in the current step: computed, or the newest stored one."""
        tick = self._tick
        if tick is None:  # called past torch's hooks, by its forward: not ours to cache
            return forward(*args, **kwargs)
        lane = self._lanes[tick.lane]
        self._hooked_output = True
        if lane.plan.runs_output[tick.step]:
            output = self.compiling.owned(forward(*args, **kwargs))
        else:
            output = lane.output
            self.reused += len(self._keys)
        lane.output = output if lane.plan.keeps_output[tick.step] else None
        return output

    def enter_block(self, keys: tuple[Key, ...]) -> BlockRun | None:
        """What a block that is decided as a whole does in the current step; None outside a forward.

        `keys` are its components, in the order of the family.
        """
        tick = self._tick
        if tick is None:
            return None
        if keys in self._done_ahead:
            return self._done_ahead.pop(keys)
        if keys[0] in self._ran:
            block_list, block, _ = keys[0]
            raise ScheduleError(too_often(f"{block_list}[{block}]"))
        self._ran.update(dict.fromkeys(keys, 1))
        lane = self._lanes[tick.lane]
        plan, step = lane.plan, tick.step
        block_list, block, _ = keys[0]
        runs, reads = plan.runs[block_list][step][block], plan.reads[block_list][step][block]
        if not all(runs):
            # A block that was left out in the step before has nothing stored.
            runs = [
                run or (read and key not in lane.store)
                for run, read, key in zip(runs, reads, keys, strict=True)
            ]
        computed = sum(runs)
        self.recomputed += computed
        self.reused += len(keys) - computed
        keeps = [True] * len(keys) if self.keeps_everything else plan.keeps[block_list][step][block]
        run = BlockRun(runs, reads, keeps, keys, lane.store, self._shared, self._kept, self.compiling.copies)
        if plan.stretches:
            self._join_stretches(run, lane, (block_list, step, block))
        if isinstance(lane.store, HostStore):
            following = block + 1
            if following < self.schedule.shape.blocks[block_list]:
                reads = plan.reads[block_list][step][following]
                lane.store.prefetch((block_list, following, part) for part, read in enumerate(reads) if read)
        return run

    def enter_ahead(self, keys: tuple[Key, ...], count: int) -> list[BlockRun]:
        """Runs of the `count` blocks after the one with these keys, if all are fully reused; else none of them.

        They are done together with that one: when their turn comes, they are inside of it.
        """
        tick = self._tick
        block_list, first, _ = keys[0]
        if tick is None or first + count >= self.schedule.shape.blocks[block_list]:
            return []
        plan, step = self._lanes[tick.lane].plan, tick.step
        blocks = range(first + 1, first + 1 + count)
        for block in blocks:
            runs, reads = plan.runs[block_list][step][block], plan.reads[block_list][step][block]
            those = tuple((block_list, block, component) for _, _, component in keys)
            # A block that was left out in the step before has nothing stored.
            is_stored = all(key in self._lanes[tick.lane].store for key in those)
            if any(runs) or not all(reads) or not is_stored or (block_list, step, block) in plan.in_stretch:
                return []
        found = []
        for block in blocks:
            those = tuple((block_list, block, component) for _, _, component in keys)
            run = self.enter_block(those)
            if run is None:
                raise ScheduleError(_GONE_ROUND.format(f"{block_list}[{block}]"))
            found.append(run)
            inside = BlockRun([], [], [], (), {}, {}, {})
            inside.is_inside = True
            self._done_ahead[those] = inside
        return found

    def _join_stretches(self, run: BlockRun, lane: LaneState, place: tuple[str, int, int]) -> None:
        """What the block at a (block list, step, block) has to do with the sums of its lane."""
        plan, (_, step, block) = lane.plan, place
        number = plan.in_stretch.get(place)
        if number is not None:
            stretch = plan.stretches[number]
            run.is_inside = block != stretch.first
            if not run.is_inside:
                is_last_read = step == stretch.reads[-1]
                run.sums = lane.sums.pop(number) if is_last_read else lane.sums[number]
        feeds = []
        for number, components in plan.feeds.get(place, {}).items():
            if number not in lane.sums:
                lane.sums[number] = Sums(plan.outputs_of[number])
            feeds.append((lane.sums[number], components))
        run.feeds = feeds

    def run(
        self, key: Key, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The component's output in the current step: recomputed, the newest stored one, or a blank if unread."""
        tick = self._tick
        if tick is None:  # the block is used outside a forward of the transformer: not ours to cache
            return forward(*args, **kwargs)
        block_list, block, component = key
        part = self._parts[block_list][component]
        call = self._ran.get(key, 0)
        if call == part.calls:
            raise ScheduleError(too_often(f"{block_list}[{block}].{part.name}", part.calls))
        self._ran[key] = call + 1
        slot = slot_of(key, call)
        lane = self._lanes[tick.lane]
        plan, step = lane.plan, tick.step
        is_new = plan.runs[block_list][step][block][component]
        output = None
        if not is_new:
            if plan.reads[block_list][step][block][component]:
                output = lane.store.get(slot)
                is_new = output is None  # a block that was left out in the step before has nothing stored
            else:
                output = lane.blank_of(slot)
        is_reused = output is not None
        if output is None:
            output = forward(*args, **kwargs)
            if part.feeds is not None:
                lane.note_blank(slot, output)
        if call == 0:  # all calls of a component are one execution
            self.reused += is_reused
            self.recomputed += not is_reused
        if not (self.keeps_everything or plan.keeps[block_list][step][block][component]):
            lane.store.pop(slot, None)
        elif is_new:
            lane.store[slot] = output
        return output

    def _plan_from(self, step: int) -> Plan:
        if step not in self._plans:
            self._plans[step] = Plan(self.schedule, step, self.summed_runs, self._sums_everywhere)
        return self._plans[step]
