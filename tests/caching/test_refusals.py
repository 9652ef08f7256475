"""Models and calls that a schedule must not be applied to: one clear line, and the model works as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ecad
from ecad.schedule import ScheduleShape, heuristic

STEPS = 6


def test_other_number_of_steps_is_refused_before_any_step(case: Any) -> None:
    steps_done: list[int] = []
    with ecad.applied(case.pipe, case.heuristic("fora:2")):
        with pytest.raises(ecad.ScheduleError, match=r"runs 4 steps .*for 6 steps.*num_inference_steps=6"):
            case.run_noting(steps_done.append, num_inference_steps=4)
        assert not steps_done
        case.run()  # and the pipeline still works


def test_wrong_number_of_blocks_is_refused(pixart: Any, flux: Any) -> None:
    for case, blocks in (
        (pixart, {"transformer_blocks": 28}),
        (flux, {"transformer_blocks": 19, "single_transformer_blocks": 3}),
        (flux, {"transformer_blocks": 2, "single_transformer_blocks": 38}),
    ):
        family = case.shape.family
        with pytest.raises(ecad.ScheduleError, match=rf"for blocks .*{max(blocks.values())}.* the model has"):
            ecad.apply(case.pipe, heuristic("fora:2", ScheduleShape(family, STEPS, blocks)))


def test_the_schedule_of_another_family_is_refused(pixart: Any, flux: Any) -> None:
    with pytest.raises(
        ecad.ScheduleError, match=r"for family 'pixart', the model is a FluxTransformer2DModel"
    ):
        ecad.apply(flux.pipe, pixart.heuristic("fora:2"))
    with pytest.raises(
        ecad.ScheduleError, match=r"for family 'flux', the model is a PixArtTransformer2DModel"
    ):
        ecad.apply(pixart.pipe, flux.heuristic("fora:2"))


def test_things_that_cannot_be_cached(pixart: Any) -> None:
    schedule = pixart.heuristic("fora:2")
    with pytest.raises(ecad.ModelError, match="Linear"):
        ecad.apply(torch.nn.Linear(2, 2), schedule)
    with pytest.raises(ecad.ModelError, match="no transformer"):
        ecad.apply(object(), schedule)
    block = pixart.pipe.transformer.transformer_blocks[0]
    block.set_chunk_feed_forward(2, 1)
    try:
        with pytest.raises(ecad.ModelError, match="chunk"):
            ecad.apply(pixart.pipe, schedule)
    finally:
        block.set_chunk_feed_forward(None)


def test_chunked_feed_forward_after_apply_is_refused(pixart: Any) -> None:
    block = pixart.pipe.transformer.transformer_blocks[0]
    with ecad.applied(pixart.pipe, pixart.heuristic("fora:2")):
        block.set_chunk_feed_forward(4, 1)
        try:
            with pytest.raises(ecad.ScheduleError, match="called twice in one forward"):
                pixart.run()
        finally:
            block.set_chunk_feed_forward(None)
        pixart.run()


# --- other caches and tools ---


def test_a_cache_hook_of_diffusers_is_refused(case: Any) -> None:
    from diffusers import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast
    from diffusers.hooks import HookRegistry

    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    apply_pyramid_attention_broadcast(case.pipe.transformer, config)
    try:
        with pytest.raises(ecad.ScheduleError, match="pyramid_attention_broadcast"):
            ecad.apply(case.pipe, case.heuristic("fora:2"))
    finally:
        registry = HookRegistry.check_if_exists_or_initialize(case.pipe.transformer)
        registry.remove_hook("pyramid_attention_broadcast", recurse=True)


def test_an_enabled_cache_of_diffusers_is_refused(flux: Any) -> None:
    from diffusers import FirstBlockCacheConfig

    untouched = flux.run()
    flux.pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    try:
        with pytest.raises(ecad.ScheduleError, match=r"FirstBlockCacheConfig.*disable_cache\(\)"):
            ecad.apply(flux.pipe, flux.heuristic("fora:2"))
    finally:
        flux.pipe.transformer.disable_cache()
    with ecad.applied(flux.pipe, flux.heuristic("all")):
        assert np.array_equal(flux.run(), untouched)


def caches(pipe: Any) -> dict[str, Any]:
    import diffusers

    blocks = {"spatial_attention_block_skip_range": 2, "spatial_attention_timestep_skip_range": (-1, 1001)}
    return {
        "FirstBlockCacheConfig": diffusers.FirstBlockCacheConfig(threshold=100.0),
        "PyramidAttentionBroadcastConfig": diffusers.PyramidAttentionBroadcastConfig(
            **blocks, current_timestep_callback=lambda: float(pipe._current_timestep)
        ),
    }


@pytest.mark.parametrize("name", ["FirstBlockCacheConfig", "PyramidAttentionBroadcastConfig"])
def test_a_cache_that_is_enabled_later_is_refused_at_the_next_call(flux: Any, name: str) -> None:
    transformer = flux.pipe.transformer
    untouched = flux.run()
    transformer.enable_cache(caches(flux.pipe)[name])
    alone = flux.run()
    transformer.disable_cache()
    assert not np.array_equal(alone, untouched)
    ecad.apply(flux.pipe, flux.heuristic("fora:2"))
    cached = flux.run()
    transformer.enable_cache(caches(flux.pipe)[name])
    try:
        with pytest.raises(ecad.ScheduleError, match=rf"another cache \({name}\) was enabled.*ecad.remove"):
            flux.run()
        ecad.remove(flux.pipe)
        assert np.array_equal(flux.run(), alone)  # as if there had been no schedule
    finally:
        ecad.remove(flux.pipe)
        transformer.disable_cache()
    assert np.array_equal(flux.run(), untouched)
    with ecad.applied(flux.pipe, flux.heuristic("fora:2")):
        assert np.array_equal(flux.run(), cached)


def test_schedulers_with_two_calls_a_step_say_how_many_rows_they_need(pixart: Any) -> None:
    from diffusers import HeunDiscreteScheduler

    own = pixart.pipe.scheduler
    pixart.pipe.scheduler = HeunDiscreteScheduler.from_config(own.config)
    try:
        untouched = pixart.run()
        with (
            ecad.applied(pixart.pipe, pixart.heuristic("fora:2")),
            pytest.raises(ecad.ScheduleError, match=r"runs the model 11 times.*apply one for 11"),
        ):
            pixart.run()
        with ecad.applied(pixart.pipe, pixart.heuristic("all").resample(11)):
            assert np.array_equal(pixart.run(), untouched)
    finally:
        pixart.pipe.scheduler = own


@pytest.mark.parametrize("path", ["", "transformer_blocks.0", "transformer_blocks.0.ff"])
def test_the_wrapper_of_another_tool_is_refused(case: Any, path: str) -> None:
    module = case.pipe.transformer.get_submodule(path)
    original = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    forward.__module__ = "other_cache.hooks"
    module.forward = forward
    try:
        with pytest.raises(ecad.ScheduleError, match=r"was replaced by another tool \(code of 'other_cache"):
            ecad.apply(case.pipe, case.heuristic("fora:2"))
    finally:
        del module.forward


def test_a_patched_class_is_refused(flux: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TeaCache is installed like this."""
    original = type(flux.pipe.transformer).forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(flux.pipe.transformer), "forward", forward)
    with pytest.raises(ecad.ScheduleError, match="the forward of FluxTransformer2DModel was replaced"):
        ecad.apply(flux.pipe, flux.heuristic("fora:2"))


def test_the_mark_of_another_cache_is_refused(flux: Any) -> None:
    flux.pipe.transformer._is_cached = True
    try:
        with pytest.raises(ecad.ScheduleError, match="_is_cached"):
            ecad.apply(flux.pipe, flux.heuristic("fora:2"))
    finally:
        del flux.pipe.transformer._is_cached


def test_a_tool_that_comes_later_and_goes_round_the_hooks_is_refused(case: Any) -> None:
    block = case.pipe.transformer.transformer_blocks[1]
    steps_done: list[int] = []
    with ecad.applied(case.pipe, case.heuristic("fora:2"), fast_path=False):
        block.ff.forward, hooked = type(block.ff).forward.__get__(block.ff), block.ff.forward
        with pytest.raises(ecad.ScheduleError, match=r"transformer_blocks\[1\].ff did not run under ecad"):
            case.run_noting(steps_done.append)
        assert not steps_done
        block.ff.forward = hooked
        case.run()


def test_a_tool_that_comes_later_and_replaces_a_block_is_refused(case: Any) -> None:
    block = case.pipe.transformer.transformer_blocks[1]
    with ecad.applied(case.pipe, case.heuristic("fora:2")):
        expected = case.run()
        block.forward, ours = type(block).forward.__get__(block), block.forward
        with pytest.raises(
            ecad.ScheduleError, match=r"transformer_blocks\[1\].attn1? did not run under ecad"
        ):
            case.run()
        block.forward = ours
        # What replaces a component is what is called.
        block.ff.forward = type(block.ff).forward.__get__(block.ff)
        assert np.array_equal(case.run(), expected)
        del block.ff.forward


# --- several forwards a step ---


def test_pixart_twice_a_step_keeps_its_passes_apart(pixart: Any) -> None:
    """Sequential guidance, by a loop of one's own: the class has no cache contexts."""
    pipe, schedule = pixart.pipe, pixart.heuristic("fora:2")
    texts = [torch.full((1, 4, 16), value) for value in (0.0, 0.5)]

    def run(chosen: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        pipe.scheduler.set_timesteps(STEPS)
        outputs: list[list[torch.Tensor]] = [[] for _ in chosen]
        for number, timestep in enumerate(pipe.scheduler.timesteps):
            latents = torch.full((1, 4, 8, 8), 0.1 * number)
            for text, found in zip(chosen, outputs, strict=True):
                found.append(
                    pipe.transformer(
                        latents,
                        encoder_hidden_states=text,
                        timestep=timestep[None],
                        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
                        return_dict=False,
                    )[0]
                )
            pipe.scheduler.step(latents, timestep, latents)
        return outputs

    with torch.no_grad(), ecad.applied(pipe, schedule):
        both, alone = run(texts), [run([text])[0] for text in texts]
    for one, other in zip(both, alone, strict=True):
        assert all(map(torch.equal, one, other))
    assert not torch.equal(both[0][-1], both[1][-1])
