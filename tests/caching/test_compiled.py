"""A schedule under `torch.compile`, however and whenever that was asked for: its image, few graphs, none made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

import ecad
from ecad.caching import compiling
from ecad.caching.compiling import _owns_its_outputs
from ecad.caching.modules import modules_beside_blocks
from ecad.schedule import summed

MOST_GRAPHS = 8  # per class of blocks


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing compiled before, and the pipeline uncompiled afterwards."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def compiled(case: Any) -> Iterator[Any]:
    """The case, and its pipeline uncompiled afterwards."""
    yield from _uncompiled_afterwards(case)


@pytest.fixture
def alone(pixart: Any) -> Iterator[Any]:
    """The same of PixArt alone."""
    yield from _uncompiled_afterwards(pixart)


def _uncompiled_afterwards(case: Any) -> Iterator[Any]:
    own = case.pipe.transformer
    yield case
    case.pipe.transformer = own
    for module in own.modules():
        module._compiled_call_impl = None


def _wrapped(case: Any, **options: Any) -> None:
    case.pipe.transformer = torch.compile(case.pipe.transformer, **options)


def _in_place(case: Any, **options: Any) -> None:
    case.pipe.transformer.compile(**options)


def _blocks(case: Any, **options: Any) -> None:
    for (
        block_list
    ) in case.shape.spec.block_lists:  # as `compile_repeated_blocks`, which PixArt's class does not allow
        for block in getattr(case.pipe.transformer, block_list.name):
            block.compile(**options)


def _components(case: Any, **options: Any) -> None:
    for *_, block, attribute in case.components():
        getattr(block, attribute).compile(**options)


WAYS = (_wrapped, _in_place, _blocks)


def most_graphs(case: Any) -> int:
    """So many for each class of blocks; two for each module beside them; one for a step in which nothing runs."""
    family, transformer = case.shape.spec, case.pipe.transformer
    beside = modules_beside_blocks(getattr(transformer, "_orig_mod", transformer), family)
    return MOST_GRAPHS * len(family.block_lists) + 2 * len(beside) + 1


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("is_first", "fullgraph"), [(False, True), (True, False)])
def test_the_image_is_the_schedules_and_nothing_is_compiled_again(
    compiled: Any, way: Callable[..., None], is_first: bool, fullgraph: bool
) -> None:
    schedule = compiled.mixed_schedule(3)
    untouched = compiled.run()
    with ecad.applied(compiled.pipe, schedule):
        expected = compiled.run()
    if is_first:
        way(compiled, backend="eager", fullgraph=fullgraph)
        assert np.array_equal(compiled.run(), untouched)
        counters.clear()
    handle = ecad.apply(compiled.pipe, schedule)
    if not is_first:
        way(compiled, backend="eager", fullgraph=fullgraph)
    assert np.array_equal(compiled.run(), expected)
    assert not counters["graph_break"]
    made = graphs()
    assert 0 < made <= most_graphs(compiled)
    assert np.array_equal(compiled.run(), expected)
    assert graphs() == made
    assert handle.stored_outputs == 0
    ecad.remove(compiled.pipe)
    assert np.array_equal(compiled.run(), untouched)


def test_every_pattern_has_one_graph(compiled: Any) -> None:
    """More patterns than torch keeps graphs of one function by default."""
    with ecad.applied(compiled.pipe, compiled.random_schedule(5)):
        _in_place(compiled, backend="eager")
        compiled.run()
        first = graphs()
    for seed in (6, 7):
        with ecad.applied(compiled.pipe, compiled.random_schedule(seed)):
            compiled.run()
    assert first < graphs() <= most_graphs(compiled)


def test_recomputing_everything_is_what_inductor_makes_of_the_model(compiled: Any) -> None:
    """The same operations in the same order, so the same kernels."""
    _blocks(compiled, backend="aot_eager")
    untouched = compiled.run()
    with ecad.applied(compiled.pipe, compiled.heuristic("all")):
        assert np.array_equal(compiled.run(), untouched)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often which functions were handed to the compiler."""
    names: Counter[str] = Counter()
    original = compiling.Compiling.call

    def call(self: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.is_on:
            names[getattr(function, "__name__", "")] += 1
        return original(self, function, *args, **kwargs)

    monkeypatch.setattr(compiling.Compiling, "call", call)
    return names


def test_what_is_beside_the_blocks_is_compiled(compiled: Any) -> None:
    _in_place(compiled, backend="eager")
    with ecad.applied(compiled.pipe, compiled.heuristic("all")):
        compiled.run()
    # One graph for each class of blocks, and those of embedders and the last norm.
    assert graphs() >= len(compiled.shape.spec.block_lists) + 2


def test_the_real_compilers_are_known(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the names that this version of torch gives its layers."""
    found = []
    original = compiling.Compiling._use

    def use(self: Any, compiler: Any) -> None:
        original(self, compiler)
        if compiler is not None:
            found.append(self._owns)

    monkeypatch.setattr(compiling.Compiling, "_use", use)
    with ecad.applied(compiled.pipe, compiled.heuristic("fora:2")), _failing(compiled):
        for options in ({"backend": "eager"}, {}, {"mode": "reduce-overhead"}):
            _in_place(compiled, **options)
            with pytest.raises(ZeroDivisionError):
                compiled.run()
    assert found == [True, True, False]


@contextmanager
def _failing(case: Any) -> Iterator[None]:
    """The transformer's first module fails, before anything is compiled."""
    module = next(case.pipe.transformer.children())
    handle = module.register_forward_pre_hook(lambda *_: 1 // 0, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def test_a_failed_forward_leaves_no_compiler_behind(compiled: Any) -> None:
    handle = ecad.apply(compiled.pipe, compiled.heuristic("fora:2"))
    _in_place(compiled, backend="eager")
    with pytest.raises(ZeroDivisionError), _failing(compiled):
        compiled.run()
    assert not handle._state.compiling.is_on
    made = graphs()
    compiled.pipe.transformer._compiled_call_impl = None
    compiled.run()
    assert graphs() == made


@pytest.mark.parametrize(
    ("way", "fast_path"), [(_in_place, False), (_blocks, False), (_components, False), (_components, True)]
)
def test_component_by_component(compiled: Any, way: Callable[..., None], fast_path: bool) -> None:
    """Blocks without code of their own, and components that were compiled one by one."""
    schedule = compiled.random_schedule(2)
    with ecad.applied(compiled.pipe, schedule):
        expected = compiled.run()
    way(compiled, backend="eager")
    with ecad.applied(compiled.pipe, schedule, fast_path=fast_path):
        assert np.array_equal(compiled.run(), expected)
        made = graphs()
        assert made > 0
        assert np.array_equal(compiled.run(), expected)
        assert graphs() == made


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("way", [_in_place, _components])
def test_stored_outputs_own_their_memory(compiled: Any, way: Callable[..., None], fast_path: bool) -> None:
    """CUDA graphs write what they return to the same memory each time, as this backend does."""

    def overwriting(module: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        memory: dict[Any, tuple[Any, ...]] = {}

        def run(*args: Any) -> Any:
            results = module(*args)
            own = memory.setdefault(tuple(each.shape for each in results), tuple(results))
            for kept, new in zip(own, results, strict=True):
                kept.copy_(new)
            return own

        return run

    schedule = compiled.random_schedule(4, 0.4)
    with ecad.applied(compiled.pipe, schedule):
        expected = compiled.run()
    way(compiled, backend=overwriting)
    with ecad.applied(compiled.pipe, schedule, fast_path=fast_path):
        assert np.array_equal(compiled.run(), expected)


def test_which_backends_own_their_outputs() -> None:
    class Layer:
        def __init__(self, name: str, inner: Any = None, config: dict[str, Any] | None = None) -> None:
            self.__name__ = name
            self._torchdynamo_orig_backend = inner
            if config is not None:
                self.get_compiler_config = lambda: config

    assert _owns_its_outputs(Layer("", Layer("eager")))
    assert _owns_its_outputs(Layer("", Layer("inductor", config={"triton.cudagraphs": False})))
    assert not _owns_its_outputs(Layer("", Layer("inductor", config={"triton.cudagraphs": True})))
    assert not _owns_its_outputs(Layer("", Layer("cudagraphs")))
    assert not _owns_its_outputs(Layer("", Layer("somebody's")))


@pytest.mark.parametrize("together", [2, 4])
def test_sums_are_compiled_too(
    alone: Any, monkeypatch: pytest.MonkeyPatch, called: Counter[str], together: int
) -> None:
    monkeypatch.setattr(summed, "_MAKING_A_BLOCK", 0)  # so few blocks would not pay
    monkeypatch.setattr(compiling, "BLOCKS_TOGETHER", together)
    with ecad.applied(alone.pipe, alone.heuristic("mask:0"), summed_runs=True) as handle:
        expected = alone.run()
        alone.pipe.transformer.compile(backend="eager")
        assert np.array_equal(alone.run(), expected)
        made = graphs()
        assert called["_read"] == alone.steps - 1
        # Three blocks: two and one of them, or one by one as there are no four.
        assert (called["_added_together"], called["_added"]) == ((1, 1) if together == 2 else (0, 3))
        alone.run()
        assert graphs() == made
        assert handle.stored_outputs == 0


def test_fully_reused_blocks_are_one_piece(
    alone: Any, monkeypatch: pytest.MonkeyPatch, called: Counter[str]
) -> None:
    monkeypatch.setattr(compiling, "BLOCKS_TOGETHER", 2)
    recompute = alone.heuristic("fora:2").recompute["transformer_blocks"].copy()
    recompute[3, 0, 0] = True  # here only the last two are
    schedule = alone.heuristic("fora:2").replace(recompute={"transformer_blocks": recompute})
    with ecad.applied(alone.pipe, schedule) as handle:
        expected, counts = alone.run(), (handle.recomputed, handle.reused)
        alone.pipe.transformer.compile(backend="eager")
        assert np.array_equal(alone.run(), expected)
        assert called["BasicTransformerBlock_reused"] == 3  # in steps 1, 3 and 5
        assert (handle.recomputed, handle.reused) == counts
        assert handle.stored_outputs == 0


@pytest.mark.parametrize("is_first", [True, False])
def test_blocks_that_others_look_at_stay_apart(
    alone: Any, monkeypatch: pytest.MonkeyPatch, called: Counter[str], is_first: bool
) -> None:
    monkeypatch.setattr(compiling, "BLOCKS_TOGETHER", 2)
    block = alone.pipe.transformer.transformer_blocks[1]

    def halve(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 0.5

    with ecad.applied(alone.pipe, alone.heuristic("fora:2")):
        watching = block.register_forward_hook(halve)
        try:
            expected = alone.run()
            alone.pipe.transformer.compile(backend="eager")
            if not is_first:
                watching.remove()
                alone.run()
                watching = block.register_forward_hook(halve)
            called.clear()
            assert np.array_equal(alone.run(), expected)
            assert called["BasicTransformerBlock_reused"] == 0
        finally:
            watching.remove()


def test_a_function_that_calls_the_model(compiled: Any) -> None:
    """Compiled and called before the schedule came: what was traced has no schedule in it."""
    transformer = compiled.pipe.transformer

    @torch.compile(backend="eager")
    def call(inputs: dict[str, Any]) -> torch.Tensor:
        result: torch.Tensor = transformer(**inputs, return_dict=False)[0]
        return result

    with torch.no_grad():
        untouched = [call(compiled.transformer_inputs(step)) for step in range(compiled.steps)]
        with ecad.applied(transformer, compiled.heuristic("output:0,3")):
            cached = [call(compiled.transformer_inputs(step)) for step in range(compiled.steps)]
        again = [call(compiled.transformer_inputs(step)) for step in range(compiled.steps)]
    for step in range(compiled.steps):
        assert torch.equal(cached[step], untouched[0 if step < 3 else 3])
        assert torch.equal(again[step], untouched[step])


@pytest.mark.parametrize("path", ["", "transformer_blocks.1", "transformer_blocks.1.ff"])
def test_a_compiled_function_in_the_forwards_place(compiled: Any, path: str) -> None:
    module = compiled.pipe.transformer.get_submodule(path)
    module.forward = torch.compile(module.forward, backend="eager")
    try:
        with pytest.raises(ecad.ModelError, match="replaced by a compiled one"):
            ecad.apply(compiled.pipe, compiled.heuristic("fora:2"))
    finally:
        del module.forward


def test_a_compiled_function_in_the_forwards_place_later(compiled: Any) -> None:
    transformer = compiled.pipe.transformer
    with ecad.applied(compiled.pipe, compiled.heuristic("fora:2")):
        transformer.forward = torch.compile(transformer.forward, backend="eager")
        try:
            with pytest.raises(ecad.ScheduleError, match="replaced by a compiled one"):
                compiled.run()
        finally:
            del transformer.forward
        compiled.run()
