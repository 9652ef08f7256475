"""Applying schedules to a pipeline: exactness, what runs, what is kept, and how errors leave the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

import ecad
from ecad.schedule import Schedule, ScheduleShape, heuristic

BLOCKS, STEPS = 3, 6
SHAPE = ScheduleShape("pixart", STEPS, {"transformer_blocks": BLOCKS})
COMPONENTS = ("attn1", "attn2", "ff")


def run(pipe: Any, prompt: Any = "a red circle", seed: int = 0, **arguments: Any) -> np.ndarray:
    """Images of the pipeline, shape (n, 16, 16, 3), float."""
    settings: dict[str, Any] = {
        "num_inference_steps": STEPS,
        "use_resolution_binning": False,
        "clean_caption": False,
        "max_sequence_length": 12,
        "output_type": "np",
        "generator": torch.Generator().manual_seed(seed),
    }
    return np.asarray(pipe(prompt, **{**settings, **arguments}).images)


def random_schedule(seed: int, probability: float = 0.5) -> Schedule:
    return heuristic(f"random:{probability}:{seed}", SHAPE)


@contextmanager
def recorded_executions(pipe: Any) -> Iterator[np.ndarray]:
    """Which components really compute: bool array (steps, blocks, components), filled during pipeline calls.

    Seen from inside: the first linear layer of each component, which runs if and only if the component does.
    """
    executed = np.zeros((STEPS, BLOCKS, len(COMPONENTS)), dtype=bool)
    handles = []

    def note(block: int, component: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            index = pipe.scheduler.step_index
            executed[0 if index is None else index, block, component] = True

        return hook

    for block_index, block in enumerate(pipe.transformer.transformer_blocks):
        inner = (block.attn1.to_q, block.attn2.to_q, block.ff.net[0].proj)
        handles += [
            module.register_forward_hook(note(block_index, component))
            for component, module in enumerate(inner)
        ]
    try:
        yield executed
    finally:
        for handle in handles:
            handle.remove()


def reference_images(pipe: Any, schedule: Schedule, **arguments: Any) -> np.ndarray:
    """The same, by the plainest possible implementation: forwards replaced by hand, everything kept for ever."""
    recompute = schedule.recompute["transformer_blocks"]
    stored: dict[tuple[int, int], Any] = {}
    replaced = []
    for block_index, block in enumerate(pipe.transformer.transformer_blocks):
        for component_index, name in enumerate(COMPONENTS):
            module = getattr(block, name)

            def forward(
                *args: Any,
                _original: Any = module.forward,
                _key: Any = (block_index, component_index),
                **kwargs: Any,
            ) -> Any:
                index = pipe.scheduler.step_index or 0
                if recompute[index, _key[0], _key[1]]:
                    stored[_key] = _original(*args, **kwargs)
                return stored[_key]

            module.forward = forward
            replaced.append(module)
    try:
        return run(pipe, **arguments)
    finally:
        for module in replaced:
            del module.forward


def test_all_recompute_and_removal_are_bit_identical(tiny_pipe: Any) -> None:
    untouched = run(tiny_pipe)
    attributes = {name: set(vars(module)) for name, module in tiny_pipe.transformer.named_modules()}
    ecad.apply(tiny_pipe, Schedule.all_recompute(SHAPE))
    assert np.array_equal(run(tiny_pipe), untouched)
    ecad.remove(tiny_pipe)
    ecad.apply(tiny_pipe, heuristic("fora:3", SHAPE))
    assert not np.array_equal(run(tiny_pipe), untouched)
    ecad.remove(tiny_pipe)
    assert np.array_equal(run(tiny_pipe), untouched)
    assert {name: set(vars(module)) for name, module in tiny_pipe.transformer.named_modules()} == attributes


@pytest.mark.parametrize(
    "name", ["fora:2", "fora:3", "attn:2", "tgate:3", "mask:0,1,4", "random:0.5:1", "random:0.2:2"]
)
def test_images_equal_a_plain_implementation(tiny_pipe: Any, name: str) -> None:
    schedule = heuristic(name, SHAPE)
    expected = reference_images(tiny_pipe, schedule)
    with ecad.applied(tiny_pipe, schedule):
        assert np.array_equal(run(tiny_pipe), expected)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_the_scheduled_components_run(tiny_pipe: Any, seed: int) -> None:
    schedule = random_schedule(seed, 0.4)
    with recorded_executions(tiny_pipe) as executed, ecad.applied(tiny_pipe, schedule) as handle:
        run(tiny_pipe)
    assert np.array_equal(executed, schedule.recompute["transformer_blocks"])
    assert handle.schedule is schedule


def test_counts_and_freed_outputs(tiny_pipe: Any) -> None:
    schedule = heuristic("fora:3", SHAPE)  # recomputes at steps 0 and 3
    held: list[int] = []
    with ecad.applied(tiny_pipe, schedule) as handle:
        run(tiny_pipe, callback=lambda *_: held.append(handle.stored_outputs))
        components = BLOCKS * len(COMPONENTS)
        # After steps 2 and 5 nothing will be read again.
        assert held == [components, components, 0, components, components, 0]
        assert (handle.recomputed, handle.reused) == (2 * components, 4 * components)


def test_batches_images_per_prompt_and_changed_batch_size(tiny_pipe: Any) -> None:
    schedule = random_schedule(3)
    expected = [
        reference_images(tiny_pipe, schedule, prompt=["a red circle", "a blue square"]),
        reference_images(tiny_pipe, schedule, prompt="a red circle", num_images_per_prompt=3),
        reference_images(tiny_pipe, schedule, prompt="a red circle"),
        reference_images(tiny_pipe, schedule, prompt="a red circle", guidance_scale=1.0),
    ]
    with ecad.applied(tiny_pipe, schedule):
        got = [
            run(tiny_pipe, ["a red circle", "a blue square"]),
            run(tiny_pipe, num_images_per_prompt=3),
            run(tiny_pipe),
            run(tiny_pipe, guidance_scale=1.0),
        ]
    assert [images.shape[0] for images in got] == [2, 3, 1, 1]
    for images, reference in zip(got, expected, strict=True):
        assert np.array_equal(images, reference)


def test_an_interrupted_call_leaves_no_trace(tiny_pipe: Any) -> None:
    class StopHereError(Exception):
        pass

    def interrupt(step: int, *_: Any) -> None:
        if step == 3:
            raise StopHereError

    with ecad.applied(tiny_pipe, random_schedule(5)):
        expected = run(tiny_pipe, seed=1)
        with pytest.raises(StopHereError):
            run(tiny_pipe, seed=2, callback=interrupt)
        assert np.array_equal(run(tiny_pipe, seed=1), expected)


def test_an_error_inside_a_block_leaves_no_trace(tiny_pipe: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    with ecad.applied(tiny_pipe, random_schedule(5)):
        expected = run(tiny_pipe)
        handle = tiny_pipe.transformer.transformer_blocks[1].ff.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            run(tiny_pipe)
        handle.remove()
        assert np.array_equal(run(tiny_pipe), expected)


@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, EulerDiscreteScheduler, DDIMScheduler])
def test_other_schedulers(tiny_pipe: Any, scheduler: Any) -> None:
    """DDIM has no step_index: its steps are counted from set_timesteps on. Replaced after apply, as users do."""
    schedule = heuristic("fora:2", SHAPE)
    with ecad.applied(tiny_pipe, schedule) as handle:
        tiny_pipe.scheduler = scheduler.from_config(tiny_pipe.scheduler.config)
        first = run(tiny_pipe)
        assert (handle.recomputed, handle.reused) == (27, 27)
        assert np.array_equal(run(tiny_pipe), first)
    assert not np.array_equal(run(tiny_pipe), first)


def test_other_number_of_steps_is_refused_before_any_step(tiny_pipe: Any) -> None:
    steps_done: list[int] = []
    with ecad.applied(tiny_pipe, heuristic("fora:2", SHAPE)):
        with pytest.raises(ecad.ScheduleError, match=r"runs 4 steps .*for 6 steps.*num_inference_steps=6"):
            run(tiny_pipe, num_inference_steps=4, callback=lambda step, *_: steps_done.append(step))
        assert not steps_done
        run(tiny_pipe)  # and the pipeline still works


def test_a_second_apply_is_refused(tiny_pipe: Any) -> None:
    ecad.apply(tiny_pipe, heuristic("fora:2", SHAPE))
    with pytest.raises(ecad.ScheduleError, match=r"'fora:2'.* already applied.*ecad.remove"):
        ecad.apply(tiny_pipe, heuristic("fora:3", SHAPE))
    expected = run(tiny_pipe)
    ecad.remove(tiny_pipe)
    ecad.remove(tiny_pipe)  # again: nothing to do
    with ecad.applied(tiny_pipe, heuristic("fora:2", SHAPE)):
        assert np.array_equal(run(tiny_pipe), expected)


def test_applied_removes_after_an_error(tiny_pipe: Any) -> None:
    untouched = run(tiny_pipe)
    with pytest.raises(KeyError), ecad.applied(tiny_pipe, heuristic("fora:2", SHAPE)):
        raise KeyError
    assert np.array_equal(run(tiny_pipe), untouched)


def test_wrong_number_of_blocks_is_refused(tiny_pipe: Any) -> None:
    schedule = heuristic("fora:2", ScheduleShape("pixart", STEPS, {"transformer_blocks": 28}))
    with pytest.raises(ecad.ScheduleError, match=r"28.*3"):
        ecad.apply(tiny_pipe, schedule)


def test_things_that_cannot_be_cached(tiny_pipe: Any) -> None:
    schedule = heuristic("fora:2", SHAPE)
    with pytest.raises(ecad.ModelError, match="Linear"):
        ecad.apply(torch.nn.Linear(2, 2), schedule)
    with pytest.raises(ecad.ModelError, match="no transformer"):
        ecad.apply(object(), schedule)
    with pytest.raises(ecad.ModelError, match="compiled"):
        ecad.apply(torch.compile(tiny_pipe.transformer), schedule)
    block = tiny_pipe.transformer.transformer_blocks[0]
    block.set_chunk_feed_forward(2, 1)
    try:
        with pytest.raises(ecad.ModelError, match="chunk"):
            ecad.apply(tiny_pipe, schedule)
    finally:
        block.set_chunk_feed_forward(None)


def test_chunked_feed_forward_after_apply_is_refused(tiny_pipe: Any) -> None:
    block = tiny_pipe.transformer.transformer_blocks[0]
    with ecad.applied(tiny_pipe, heuristic("fora:2", SHAPE)):
        block.set_chunk_feed_forward(4, 1)
        try:
            with pytest.raises(ecad.ScheduleError, match="called twice in one forward"):
                run(tiny_pipe)
        finally:
            block.set_chunk_feed_forward(None)
        run(tiny_pipe)


def test_another_cache_is_refused(tiny_pipe: Any) -> None:
    from diffusers import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
    from diffusers.hooks import HookRegistry

    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    apply_pyramid_attention_broadcast(tiny_pipe.transformer, config)
    try:
        with pytest.raises(ecad.ScheduleError, match="pyramid_attention_broadcast"):
            ecad.apply(tiny_pipe, heuristic("fora:2", SHAPE))
    finally:
        registry = HookRegistry.check_if_exists_or_initialize(tiny_pipe.transformer)
        registry.remove_hook("pyramid_attention_broadcast", recurse=True)


def test_calling_the_transformer_twice_a_step_is_refused(tiny_pipe: Any) -> None:
    """Sequential guidance would mix the stored outputs of its two passes."""
    transformer = tiny_pipe.transformer

    def step(latents: torch.Tensor) -> torch.Tensor:
        return transformer(
            latents,
            encoder_hidden_states=torch.zeros(1, 4, 16),
            timestep=torch.tensor([500]),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]

    with ecad.applied(tiny_pipe, heuristic("fora:2", SHAPE)), torch.no_grad():
        tiny_pipe.scheduler.set_timesteps(STEPS)
        step(torch.zeros(1, 4, 8, 8))
        with pytest.raises(ecad.ScheduleError, match="twice in step 0"):
            step(torch.zeros(1, 4, 8, 8))
        # A new call is a new start.
        tiny_pipe.scheduler.set_timesteps(STEPS)
        step(torch.zeros(1, 4, 8, 8))


def test_a_transformer_without_a_pipeline_counts_and_resets(tiny_pipe: Any) -> None:
    transformer = tiny_pipe.transformer
    handle = ecad.apply(transformer, heuristic("mask:0,4", SHAPE))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(STEPS, 1, 4, 8, 8, generator=generator)

    @torch.no_grad()
    def forward(step: int) -> torch.Tensor:
        return transformer(
            inputs[step],
            encoder_hidden_states=torch.ones(1, 4, 16),
            timestep=torch.tensor([900 - 100 * step]),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]

    first = [forward(step) for step in range(STEPS)]
    assert (handle.recomputed, handle.reused) == (18, 36)
    with pytest.raises(ecad.ScheduleError, match=r"forward number 7.*6 steps.*reset\(\)"):
        forward(0)
    handle.reset()
    assert all(torch.equal(forward(step), first[step]) for step in range(STEPS))
    ecad.remove(transformer)


def test_a_call_that_starts_in_the_middle_recomputes_its_first_step(tiny_pipe: Any) -> None:
    """Image-to-image: `begin_index` is where the schedule is entered, and nothing is stored yet there."""
    scheduler, transformer = tiny_pipe.scheduler, tiny_pipe.transformer
    with ecad.applied(tiny_pipe, heuristic("mask:0,4", SHAPE)) as handle, torch.no_grad():
        scheduler.set_timesteps(STEPS)
        scheduler.set_begin_index(2)
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        recomputed = []
        for timestep in scheduler.timesteps[2:]:
            output = transformer(
                latents,
                encoder_hidden_states=torch.ones(1, 4, 16),
                timestep=timestep[None],
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
                return_dict=False,
            )[0]
            latents = scheduler.step(output[:, :4], timestep, latents, return_dict=False)[0]
            recomputed.append(handle.recomputed)
    # Steps 2 (the first) and 4 recompute all 9 components, 3 and 5 reuse.
    assert recomputed == [9, 9, 18, 18]


@pytest.mark.parametrize("lora_first", [True, False])
def test_lora_before_or_after(tiny_pipe: Any, lora_first: bool) -> None:
    peft = pytest.importorskip("peft")
    import copy

    plain = run(tiny_pipe)
    shared = tiny_pipe.transformer
    tiny_pipe.transformer = copy.deepcopy(shared)  # LoRA layers replace modules for good
    schedule = random_schedule(7)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)

    def add_lora() -> None:
        torch.manual_seed(1)
        peft.inject_adapter_in_model(config, tiny_pipe.transformer)

    if lora_first:
        add_lora()
        ecad.apply(tiny_pipe, schedule)
    else:
        ecad.apply(tiny_pipe, schedule)
        add_lora()
    cached = run(tiny_pipe)
    ecad.remove(tiny_pipe)
    with_lora = run(tiny_pipe)
    assert not np.array_equal(with_lora, plain)
    assert np.array_equal(cached, reference_images(tiny_pipe, schedule))
    tiny_pipe.transformer = shared


def test_a_peft_wrapper_is_looked_through(tiny_pipe: Any) -> None:
    peft = pytest.importorskip("peft")
    import copy

    schedule = random_schedule(8)
    expected = reference_images(tiny_pipe, schedule)
    wrapped = copy.deepcopy(tiny_pipe.transformer)
    shared, tiny_pipe.transformer = (
        tiny_pipe.transformer,
        peft.get_peft_model(wrapped, peft.LoraConfig(r=2, target_modules=["to_q"])),
    )
    with ecad.applied(tiny_pipe, schedule):
        assert np.array_equal(run(tiny_pipe), expected)  # a fresh LoRA changes nothing
    tiny_pipe.transformer = shared


@pytest.mark.parametrize("offload_first", [True, False])
def test_model_offloading(tiny_pipe: Any, offload_first: bool) -> None:
    """`enable_model_cpu_offload` needs an accelerator; this is what it installs, with the CPU in its place."""
    from accelerate import cpu_offload_with_hook
    from accelerate.hooks import remove_hook_from_module

    schedule = random_schedule(9)
    expected = reference_images(tiny_pipe, schedule)
    untouched = run(tiny_pipe)
    if offload_first:
        cpu_offload_with_hook(tiny_pipe.transformer, "cpu")
        ecad.apply(tiny_pipe, schedule)
    else:
        ecad.apply(tiny_pipe, schedule)
        cpu_offload_with_hook(tiny_pipe.transformer, "cpu")
    try:
        assert np.array_equal(run(tiny_pipe), expected)
        ecad.remove(tiny_pipe)
        assert np.array_equal(run(tiny_pipe), untouched)
        assert hasattr(tiny_pipe.transformer, "_hf_hook")  # the offloading is still there
    finally:
        remove_hook_from_module(tiny_pipe.transformer)
