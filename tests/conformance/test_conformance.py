"""What must hold for every transformer class that ecad knows, on tiny random models.

In two processes all of it takes a minute or two; one model's tests stay together.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conformance.tiny import STEPS, StandIn, Subject, TinyTransformer, equal, tensors_of, tiny_transformers

import ecad
from ecad.caching.blocks import has_fast_path
from ecad.families import FAMILIES
from ecad.measuring.macs import schedule_macs, stored_bytes, uncached_macs
from ecad.sampling.counting import counted_workload, flop_counter
from ecad.schedule import Schedule, dump_schedule, load_schedule

MODELS = tiny_transformers()


@cache
def built(index: int) -> Subject:
    return Subject(MODELS[index])


@pytest.fixture(params=range(len(MODELS)), ids=[each.label for each in MODELS])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    tiny: TinyTransformer = MODELS[request.param]
    if not tiny.is_there:
        pytest.skip(f"this diffusers has no {tiny.class_name}")
    found = built(request.param)
    yield found
    ecad.remove(found.transformer)


def test_every_known_class_is_tested() -> None:
    tested = {each.class_name for each in MODELS}
    known = {name for family in FAMILIES.values() for name in family.transformer_classes}
    assert tested == known


def mixed(subject: Subject, seed: int) -> Schedule:
    """A random schedule that reuses the whole output in one step."""
    runs = np.ones(STEPS, bool)
    runs[2] = False
    return subject.heuristic(f"random:0.5:{seed}").replace(recompute_output=runs)


def test_recomputing_everything_is_bit_identical_and_removal_leaves_no_trace(subject: Subject) -> None:
    untouched = subject.run()
    assert not equal(untouched, [untouched[0]] * STEPS)
    before = [(name, sorted(vars(module))) for name, module in subject.transformer.named_modules()]
    for options in ({}, {"fast_path": False}):
        with ecad.applied(subject.transformer, subject.heuristic("all"), **options):
            assert equal(subject.run(), untouched)
        assert [
            (name, sorted(vars(module))) for name, module in subject.transformer.named_modules()
        ] == before
        assert not any(module._forward_hooks for module in subject.transformer.modules())
        assert equal(subject.run(), untouched)


def test_every_component_shows_in_the_output(subject: Subject) -> None:
    """Else the tests below would hold for any numbers."""
    untouched = subject.run()
    for block_list, block, component, _ in subject.components():
        schedule = subject.heuristic("all")
        recompute = {name: flags.copy() for name, flags in schedule.recompute.items()}
        recompute[block_list][1:, block, component] = False
        with ecad.applied(subject.transformer, schedule.replace(recompute=recompute)):
            changed = not equal(subject.run(), untouched)
        names = subject.family.block_list(block_list).components
        if names[component].feeds is None:
            name = f"{block_list}[{block}].{names[component].name}"
            constant = {block_list, f"{block_list}.{names[component].name}"} & {
                *subject.tiny.without_timestep
            }
            has_effect = not constant and name not in subject.tiny.unread
            assert changed == has_effect, name


def test_what_is_reused_is_not_computed(subject: Subject) -> None:
    with (
        ecad.applied(subject.transformer, subject.heuristic("mask:0"), fast_path=False),
        subject.executions() as count,
    ):
        for step in range(STEPS):
            subject.forward(step)
            if step == 0:
                once = count[0]
                assert once >= len(subject.names())
        assert count[0] == once
    modules = [module for module in subject.transformer.modules() if module is not subject.transformer]
    ran: list[Any] = []
    handles = [module.register_forward_hook(lambda *args: ran.append(args[0])) for module in modules]
    try:
        with ecad.applied(subject.transformer, subject.heuristic("output:0")):
            outputs = [subject.forward(0)]
            assert ran
            ran.clear()
            outputs += [subject.forward(step) for step in range(1, STEPS)]
            assert not ran
        assert equal(outputs, [outputs[0]] * STEPS)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("seed", [1, 2])
def test_the_plainest_implementation_gives_the_same(subject: Subject, seed: int) -> None:
    schedule = mixed(subject, seed)
    expected = subject.reference(schedule)
    for options in ({"fast_path": False}, {"summed_runs": False}):
        with ecad.applied(subject.transformer, schedule, **options) as handle:
            assert equal(subject.run(), expected)
            assert handle.stored_outputs == 0


def test_two_passes_a_step_keep_apart(subject: Subject) -> None:
    pipe = StandIn(subject.transformer)
    schedule = mixed(subject, 3)
    alone = []
    for rows in (1, 2):
        with ecad.applied(subject.transformer, schedule):
            alone.append(subject.run(rows))
    has_contexts = hasattr(subject.transformer, "cache_context")
    for contexts in (("cond", "uncond"), None) if has_contexts else (None,):
        found: list[list[tuple[torch.Tensor, ...]]] = [[], []]
        with ecad.applied(pipe, schedule):
            pipe.begin()
            for step in range(STEPS):
                for number, rows in enumerate((1, 2)):
                    if contexts is None:
                        found[number].append(subject.forward(step, rows))
                    else:
                        with subject.transformer.cache_context(contexts[number]):
                            found[number].append(subject.forward(step, rows))
                pipe.advance()
        assert equal(found[0], alone[0])
        assert equal(found[1], alone[1])


def test_another_batch_and_size_in_the_next_call(subject: Subject) -> None:
    pipe = StandIn(subject.transformer)
    schedule = mixed(subject, 4)
    sizes = ((1, 1), (3, 1), (2, 2))
    expected = []
    for rows, size in sizes:
        with ecad.applied(subject.transformer, schedule):
            expected.append(subject.run(rows, size))
    with ecad.applied(pipe, schedule):
        for (rows, size), outputs in zip(sizes, expected, strict=True):
            pipe.begin()
            found = []
            for step in range(STEPS):
                found.append(subject.forward(step, rows, size))
                pipe.advance()
            assert equal(found, outputs)


def test_a_call_that_failed_leaves_nothing_behind(subject: Subject) -> None:
    pipe = StandIn(subject.transformer)
    schedule = mixed(subject, 5)
    with ecad.applied(subject.transformer, schedule):
        expected = subject.run()

    class StopError(Exception):
        pass

    def stop(*_: Any) -> None:
        raise StopError

    *_, module = list(subject.components())[-1]
    with ecad.applied(pipe, schedule):
        pipe.begin()
        subject.forward(0)
        pipe.advance()
        handle = subject.transformer.register_forward_pre_hook(stop)
        with pytest.raises(StopError):
            subject.forward(1)
        handle.remove()
        pipe.begin()
        handle = module.register_forward_pre_hook(stop)
        with pytest.raises(StopError):
            subject.forward(0)
        handle.remove()
        pipe.begin()
        found = []
        for step in range(STEPS):
            found.append(subject.forward(step))
            pipe.advance()
        assert equal(found, expected)


def test_the_file_gives_the_same(subject: Subject, tmp_path: Any) -> None:
    schedule = mixed(subject, 6)
    (tmp_path / "schedule.yaml").write_text(dump_schedule(schedule), encoding="utf-8")
    loaded = load_schedule(tmp_path / "schedule.yaml")
    assert loaded.digest() == schedule.digest()
    with ecad.applied(subject.transformer, schedule):
        expected = subject.run()
    with ecad.applied(subject.transformer, loaded):
        assert equal(subject.run(), expected)


def test_macs_and_stored_bytes_are_as_predicted(subject: Subject) -> None:
    """In float32, of two rows as one image."""
    pipe = StandIn(subject.transformer)

    def one_step() -> None:
        pipe.begin()
        subject.forward(0)
        pipe.advance()

    workload = counted_workload(SimpleNamespace(**vars(pipe)), subject.family, one_step)
    for seed in (7, 8):
        schedule = mixed(subject, seed)
        predicted = stored_bytes(schedule, workload, 4)
        held = []
        with flop_counter() as counter, ecad.applied(pipe, schedule, fast_path=False) as handle:
            pipe.begin()
            for step in range(STEPS):
                subject.forward(step)
                pipe.advance()
                held.append(stored_by(handle))
        assert counter.get_total_flops() == 2 * schedule_macs(schedule, workload)
        assert held == predicted.tolist()
    with flop_counter() as counter:
        subject.run()
    assert counter.get_total_flops() == 2 * uncached_macs(STEPS, workload)


def stored_by(handle: Any) -> int:
    """Bytes of all tensors that are stored."""
    lanes = handle._state._lanes.values()
    outputs = [
        output for lane in lanes for output in (*lane.store.values(), lane.output) if output is not None
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(outputs))


def test_the_fast_path_gives_the_same(subject: Subject) -> None:
    with ecad.applied(subject.transformer, subject.heuristic("all")) as handle:
        if not handle._blocks:
            pytest.skip("no code for its blocks as a whole")
        assert has_fast_path(subject.family)
    for name in ("fora:2", "mask:0", "random:0.5:9"):
        found = []
        for options in ({"summed_runs": False}, {"fast_path": False}):
            with ecad.applied(subject.transformer, subject.heuristic(name), **options):
                found.append(subject.run())
        assert equal(*found)


def test_a_copy_of_the_model_is_free(subject: Subject) -> None:
    """What was applied and removed does not come along."""
    with ecad.applied(subject.transformer, subject.heuristic("fora:2")):
        subject.run()
    again = copy.deepcopy(subject.transformer)
    inputs = subject.tiny.inputs(2, 1, 0)
    with torch.no_grad():
        assert torch.equal(
            next(tensors_of(again(**inputs, return_dict=False))),
            next(tensors_of(subject.transformer(**inputs, return_dict=False))),
        )
