"""Blocks that are decided as a whole: the same images, less that runs; the generic way where the code is unknown."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

import ecad
from ecad.caching.blocks import fingerprint, known_block
from ecad.caching.hook import HOOK_NAME


def hooked(module: torch.nn.Module) -> bool:
    registry = getattr(module, "_diffusers_hook", None)
    return registry is not None and registry.get_hook(HOOK_NAME) is not None


@pytest.mark.parametrize("seed", range(4))
def test_on_a_cpu_it_is_the_generic_way_bit_for_bit(case: Any, seed: int) -> None:
    schedule = case.mixed_schedule(seed) if seed % 2 else case.random_schedule(seed, 0.2 + 0.2 * seed)
    images = []
    for fast_path in (True, False):
        with ecad.applied(case.pipe, schedule, fast_path=fast_path) as handle:
            images.append(case.run(prompt=["a red circle", "a blue square"]))
            counts = handle.recomputed, handle.reused
            assert hooked(case.pipe.transformer.transformer_blocks[0]) == fast_path
        images.append(counts)
    assert np.array_equal(images[0], images[2])
    assert images[1] == images[3]


def test_in_one_operation_it_stays_within_the_rounding(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where gate and residual are one operation: float32 to its last bits; bfloat16 no further from the
    generic way than bfloat16 is from float32."""
    from ecad.caching.blocks import flux, pixart

    schedule = case.random_schedule(5, 0.4)

    @torch.no_grad()
    def outputs(dtype: torch.dtype, fast_path: bool) -> torch.Tensor:
        transformer = copy.deepcopy(case.pipe.transformer).to(dtype)
        results = []
        with ecad.applied(transformer, schedule, fast_path=fast_path):
            for step in range(case.steps):
                given = {**case.transformer_inputs(step)}
                for name, value in given.items():
                    if isinstance(value, torch.Tensor) and value.is_floating_point() and "ids" not in name:
                        given[name] = value.to(dtype)
                results.append(transformer(**given, return_dict=False)[0].float())
        return torch.stack(results)

    exact, half = outputs(torch.float32, False), outputs(torch.bfloat16, False)
    for module in (flux, pixart):
        monkeypatch.setattr(module, "add_gated", torch.addcmul)
    fused, fused_half = outputs(torch.float32, True), outputs(torch.bfloat16, True)
    scale = float(exact.abs().max())
    assert float((fused - exact).abs().max()) < 2e-6 * scale
    assert float((fused_half - half).norm()) <= float((half - exact).norm())


def test_norms_of_reused_blocks_do_not_run(case: Any) -> None:
    ran: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda module, *_: ran.update([type(module).__name__]))
        for block in case.pipe.transformer.transformer_blocks
        for module in block.modules()
        if isinstance(module, torch.nn.LayerNorm)
    ]
    with ecad.applied(case.pipe, case.heuristic("mask:0")):
        case.run()
    masked = ran.total()
    ran.clear()
    with ecad.applied(case.pipe, case.heuristic("all")):
        case.run()
    for handle in handles:
        handle.remove()
    assert masked == ran.total() / case.steps > 0


def test_a_patched_forward_a_subclass_and_a_wrapper_go_the_generic_way(
    case: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    block = case.pipe.transformer.transformer_blocks[0]
    components = case.shape.spec.block_lists[0].component_names
    assert known_block(block, components) is not None
    assert known_block(block, components[::-1]) is None
    schedule = case.random_schedule(1)
    expected = case.reference_images(schedule)
    kind = type(block)
    original = kind.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    caplog.set_level(logging.INFO, "ecad")
    monkeypatch.setattr(kind, "forward", forward)
    with ecad.applied(case.pipe, schedule):
        assert not hooked(block)
        assert np.array_equal(case.run(), expected)
    assert f"no fast path for blocks {kind.__name__}" in caplog.text
    monkeypatch.undo()
    block.__class__ = type("Mine", (kind,), {})
    try:
        with ecad.applied(case.pipe, schedule):
            assert not hooked(block)
            assert hooked(case.pipe.transformer.transformer_blocks[1])
            assert np.array_equal(case.run(), expected)
    finally:
        block.__class__ = kind
    block.forward = lambda *args, **kwargs: kind.forward(block, *args, **kwargs)
    try:
        assert known_block(block, components) is None
    finally:
        del block.forward


def test_a_fingerprint_is_of_the_code_alone() -> None:
    def one(a: int, b: str = "x") -> int:
        # a comment
        return a + len(b)

    first = fingerprint(one)

    def one(a, b="x"):  # type: ignore[no-untyped-def,no-redef]
        return a + len(b)

    assert fingerprint(one) == first != ""

    def one(a, b="y"):  # type: ignore[no-untyped-def,no-redef]
        return a + len(b)

    assert fingerprint(one) != first
    assert fingerprint(len) == ""


def test_modulation_layers_that_are_not_plain_are_called_as_they_are(flux: Any) -> None:
    """An adapter on a modulation layer: all of its output is computed, with the adapter in it."""
    peft = pytest.importorskip("peft")
    own = flux.pipe.transformer
    flux.pipe.transformer = copy.deepcopy(own)
    try:
        torch.manual_seed(1)
        config = peft.LoraConfig(
            r=2, lora_alpha=4, target_modules=["norm1.linear", "norm.linear"], init_lora_weights=False
        )
        peft.inject_adapter_in_model(config, flux.pipe.transformer)
        schedule = flux.random_schedule(2, 0.3)
        expected = flux.reference_images(schedule)
        with ecad.applied(flux.pipe, schedule):
            assert np.array_equal(flux.run(), expected)
    finally:
        flux.pipe.transformer = own
