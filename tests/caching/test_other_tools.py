"""Schedules beside LoRA adapters, offloading, fused projections and quantised layers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import ecad


@pytest.fixture
def own_copy(case: Any) -> Iterator[Any]:
    """A case whose transformer may be changed for good."""
    shared = case.pipe.transformer
    case.pipe.transformer = copy.deepcopy(shared)
    yield case
    ecad.remove(case.pipe)
    case.pipe.transformer = shared


@pytest.mark.parametrize("lora_first", [True, False])
def test_lora_before_or_after(own_copy: Any, lora_first: bool) -> None:
    peft = pytest.importorskip("peft")
    case = own_copy
    plain = case.run()
    schedule = case.random_schedule(7)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)

    def add_lora() -> None:
        torch.manual_seed(1)
        peft.inject_adapter_in_model(config, case.pipe.transformer)

    if lora_first:
        add_lora()
        ecad.apply(case.pipe, schedule)
    else:
        ecad.apply(case.pipe, schedule)
        add_lora()
    cached = case.run()
    ecad.remove(case.pipe)
    with_lora = case.run()
    assert not np.array_equal(with_lora, plain)
    assert np.array_equal(cached, case.reference_images(schedule))


def test_lora_on_a_component_itself(own_copy: Any) -> None:
    """FLUX adapters often target proj_mlp and proj_out: the component is then the adapter's layer."""
    peft = pytest.importorskip("peft")
    case = own_copy
    target = {"pixart": "ff.net.2", "flux": "proj_mlp"}[case.shape.family]
    schedule = case.random_schedule(7)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=[target], init_lora_weights=False)
    peft.inject_adapter_in_model(config, case.pipe.transformer)
    expected = case.reference_images(schedule)
    with ecad.applied(case.pipe, schedule):
        assert np.array_equal(case.run(), expected)


@pytest.mark.parametrize("whole_output", [False, True])
def test_lora_on_components_after_the_schedule(own_copy: Any, whole_output: bool) -> None:
    """The adapter's layer takes the place of one that has a hook; and when it goes, that layer is back."""
    peft = pytest.importorskip("peft")
    case = own_copy
    targets = {"pixart": ["ff.net.2", "to_q"], "flux": ["proj_mlp", "proj_out", "to_k"]}[case.shape.family]
    schedule = case.mixed_schedule(7) if whole_output else case.random_schedule(7)
    untouched, without = case.run(), case.reference_images(schedule)
    ecad.apply(case.pipe, schedule)
    assert np.array_equal(case.run(), without)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets, init_lora_weights=False)
    tuner = peft.tuners.lora.LoraModel(case.pipe.transformer, config, "default")
    with_adapter = case.run()
    ecad.remove(case.pipe)
    assert np.array_equal(with_adapter, case.reference_images(schedule))
    assert not np.array_equal(with_adapter, without)
    ecad.apply(case.pipe, schedule)
    assert np.array_equal(case.run(), with_adapter)
    tuner.unload()
    assert np.array_equal(case.run(), without)
    ecad.remove(case.pipe)
    assert np.array_equal(case.run(), untouched)


def test_a_peft_wrapper_is_looked_through(own_copy: Any) -> None:
    peft = pytest.importorskip("peft")
    case = own_copy
    schedule = case.random_schedule(8)
    expected = case.reference_images(schedule)
    config = peft.LoraConfig(r=2, target_modules=["to_q"])
    case.pipe.transformer = peft.get_peft_model(case.pipe.transformer, config)
    with ecad.applied(case.pipe, schedule):
        assert np.array_equal(case.run(), expected)  # a fresh LoRA changes nothing


@pytest.mark.parametrize("offload_first", [True, False])
@pytest.mark.parametrize(
    "kind", ["random_schedule", "mixed_schedule"]
)  # the second has a hook on the transformer
def test_model_offloading(case: Any, kind: str, offload_first: bool) -> None:
    """`enable_model_cpu_offload` needs an accelerator; this is what it installs, with the CPU in its place."""
    from accelerate import cpu_offload_with_hook
    from accelerate.hooks import remove_hook_from_module

    schedule = getattr(case, kind)(9)
    expected = case.reference_images(schedule)
    untouched = case.run()
    if offload_first:
        cpu_offload_with_hook(case.pipe.transformer, "cpu")
        ecad.apply(case.pipe, schedule)
    else:
        ecad.apply(case.pipe, schedule)
        cpu_offload_with_hook(case.pipe.transformer, "cpu")
    try:
        assert np.array_equal(case.run(), expected)
        ecad.remove(case.pipe)
        assert np.array_equal(case.run(), untouched)
        assert hasattr(case.pipe.transformer, "_hf_hook")  # the offloading is still there
    finally:
        remove_hook_from_module(case.pipe.transformer)


@pytest.mark.parametrize("offload_first", [True, False])
@pytest.mark.parametrize("remove_first", [True, False])
def test_sequential_offloading(own_copy: Any, offload_first: bool, remove_first: bool) -> None:
    """The weights of each layer come and go with its forward; FLUX's proj_mlp and proj_out are such layers."""
    from accelerate import cpu_offload
    from accelerate.hooks import remove_hook_from_submodules

    case = own_copy
    schedule = case.random_schedule(9)
    expected, untouched = case.reference_images(schedule), case.run()
    transformer = case.pipe.transformer
    if offload_first:
        cpu_offload(transformer, "cpu")
        ecad.apply(case.pipe, schedule)
    else:
        ecad.apply(case.pipe, schedule)
        cpu_offload(transformer, "cpu")
    assert next(transformer.parameters()).device.type == "meta"
    assert np.array_equal(case.run(), expected)
    if remove_first:
        ecad.remove(case.pipe)
        assert np.array_equal(case.run(), untouched)
        remove_hook_from_submodules(transformer)
    else:
        remove_hook_from_submodules(transformer)
        ecad.remove(case.pipe)
    assert np.array_equal(case.run(), untouched)


@pytest.mark.parametrize("spread_first", [True, False])
def test_a_transformer_that_is_spread_over_devices(own_copy: Any, spread_first: bool) -> None:
    """What `from_pretrained(..., device_map=...)` does to it: hooks that bring each module's inputs to its device."""
    from accelerate import dispatch_model
    from accelerate.hooks import remove_hook_from_submodules

    case = own_copy
    schedule = case.random_schedule(9)
    expected, untouched = case.reference_images(schedule), case.run()
    transformer = case.pipe.transformer
    names = [
        name for name, _ in (*transformer.named_children(), *transformer.named_parameters(recurse=False))
    ]
    parts = dict.fromkeys(names, "cpu")
    spread = functools.partial(dispatch_model, transformer, device_map=parts, force_hooks=True)
    if spread_first:
        spread()
        ecad.apply(case.pipe, schedule)
    else:
        ecad.apply(case.pipe, schedule)
        spread()
    assert transformer.hf_device_map == parts
    assert hasattr(transformer.transformer_blocks, "_hf_hook")
    assert np.array_equal(case.run(), expected)
    ecad.remove(case.pipe)
    assert np.array_equal(case.run(), untouched)
    remove_hook_from_submodules(transformer)
    assert np.array_equal(case.run(), untouched)


def test_fused_projections(own_copy: Any) -> None:
    case = own_copy
    schedule = case.random_schedule(4)
    case.pipe.transformer.fuse_qkv_projections()
    expected = case.reference_images(schedule)
    with ecad.applied(case.pipe, schedule):
        assert np.array_equal(case.run(), expected)


class RoundedLinear(torch.nn.Module):
    """What quantisers put in place of `nn.Linear`, reduced to its essence: weights of 8 bits and a scale."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.abs().amax() / 127
        self.register_buffer("weight", (linear.weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(inputs, self.weight * self.scale, self.bias)


def test_quantised_layers(own_copy: Any) -> None:
    """Quantisers of diffusers replace linear layers, FLUX's proj_mlp and proj_out among them, one by one."""
    case = own_copy
    for module in list(case.pipe.transformer.transformer_blocks.modules()) + list(
        getattr(case.pipe.transformer, "single_transformer_blocks", torch.nn.ModuleList()).modules()
    ):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(module, name, RoundedLinear(child))
    schedule = case.random_schedule(6)
    expected = case.reference_images(schedule)
    with ecad.applied(case.pipe, schedule):
        assert np.array_equal(case.run(), expected)
