"""What only FLUX has: dead compute, two passes a step, image-to-image, IP-Adapters, models without guidance."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline

import ecad
from ecad.schedule import Schedule, plan_execution, stored_after_step

STEPS = 6
SINGLE = "single_transformer_blocks"
PICTURE = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
MASK = np.zeros((1, 16, 16), dtype=np.float32)
MASK[:, :8] = 1.0


def single_stream(case: Any, **steps: list[int]) -> Schedule:
    """Everything always recomputed, but these components of the single-stream blocks only at these steps."""
    schedule = case.heuristic("all")
    arrays = {name: array.copy() for name, array in schedule.recompute.items()}
    names = schedule.spec.block_list(SINGLE).component_names
    for component, chosen in steps.items():
        arrays[SINGLE][:, :, names.index(component)] = False
        arrays[SINGLE][chosen, :, names.index(component)] = True
    return schedule.replace(recompute=arrays)


# --- dead compute ---


def test_components_that_nobody_reads_do_not_run(flux: Any) -> None:
    # proj_out at 0 and 4. attn: 2 is overwritten by 3 unread, 3 is read at 4, 5 is never read.
    schedule = single_stream(flux, attn=[0, 2, 3, 5], proj_mlp=[0, 1], proj_out=[0, 4])
    expected = flux.reference_images(schedule)
    held: list[int] = []
    with flux.recorded_executions() as executed, ecad.applied(flux.pipe, schedule) as handle:
        images = flux.run_noting(lambda _: held.append(handle.stored_outputs))
        counts = (handle.recomputed, handle.reused)
    assert np.array_equal(images, expected)
    for block in range(3):
        ran = executed[SINGLE][:, block]
        assert [np.flatnonzero(ran[:, part]).tolist() for part in range(3)] == [[0, 3], [0, 1], [0, 4]]
    # Kept by each of the 3 blocks: proj_out after 0, 1, 2 and 4; proj_mlp of step 1 until 4; attn of 3 until 4.
    assert held == [3 * 1, 3 * 2, 3 * 2, 3 * 2, 3 * 1, 0]
    assert counts == (6 * 6 + 3 * 6, 3 * 12)


def test_a_component_that_other_tools_watch_still_joins(flux: Any) -> None:
    """The stand-in of an unread output has the shape of the real one and no memory of its own."""
    schedule = single_stream(flux, attn=[0], proj_mlp=[0], proj_out=[0])
    seen: list[torch.Tensor] = []
    handle = flux.pipe.transformer.single_transformer_blocks[0].proj_mlp.register_forward_hook(
        lambda *arguments: seen.append(arguments[-1])
    )
    with ecad.applied(flux.pipe, schedule, fast_path=False):
        flux.run(prompt=["a red circle"] * 2)
    handle.remove()
    assert {output.shape for output in seen} == {(2, 12 + 16, 64)}
    assert [output.untyped_storage().nbytes() for output in seen[1:]] == [4] * 5


# --- two passes a step ---

TRUE_GUIDANCE: dict[str, Any] = {"true_cfg_scale": 3.0, "negative_prompt": "a blue square"}


def test_true_guidance_keeps_one_store_per_pass(flux: Any) -> None:
    schedule = flux.random_schedule(1)
    plain, untouched = flux.run(), flux.run(**TRUE_GUIDANCE)
    assert not np.array_equal(plain, untouched)
    expected = flux.reference_images(schedule, **TRUE_GUIDANCE)
    held: list[int] = []
    with ecad.applied(flux.pipe, schedule) as handle:
        once = flux.run()
        one_pass = (handle.recomputed, handle.reused)
        images = flux.run_noting(lambda _: held.append(handle.stored_outputs), **TRUE_GUIDANCE)
        assert (handle.recomputed, handle.reused) == (2 * one_pass[0], 2 * one_pass[1])
        assert np.array_equal(flux.run(), once)  # and with one pass again
    assert np.array_equal(images, expected)
    assert held == (2 * sum(stored_after_step(schedule).values())).tolist()
    ecad.apply(flux.pipe, flux.heuristic("all"))
    assert np.array_equal(flux.run(**TRUE_GUIDANCE), untouched)


def test_a_call_that_fails_in_its_second_pass_leaves_no_trace(flux: Any) -> None:
    schedule = flux.random_schedule(2)
    calls: list[None] = []

    def fail(*_: Any) -> None:
        calls.append(None)
        if len(calls) == 4:  # step 1, second pass
            raise RuntimeError("out of memory")

    with ecad.applied(flux.pipe, schedule):
        expected = flux.run(**TRUE_GUIDANCE)
        handle = flux.pipe.transformer.norm_out.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            flux.run(**TRUE_GUIDANCE)
        handle.remove()
        assert np.array_equal(flux.run(**TRUE_GUIDANCE), expected)
        flux.run()
    assert "cache_context" not in vars(flux.pipe.transformer)


def inputs(step: int) -> dict[str, Any]:
    return {
        "hidden_states": torch.full((1, 16, 16), 0.1 * step),
        "encoder_hidden_states": torch.ones(1, 4, 16),
        "pooled_projections": torch.ones(1, 16),
        "timestep": torch.tensor([0.9 - 0.1 * step]),
        "guidance": torch.tensor([3.5]),
        "txt_ids": torch.zeros(4, 3),
        "img_ids": torch.zeros(16, 3),
    }


@torch.no_grad()
def run_steps(case: Any, passes: list[int]) -> None:
    """A loop of one's own that runs the transformer `passes[step]` times, outside of any cache context."""
    scheduler = case.pipe.scheduler
    scheduler.set_timesteps(STEPS)
    for step, timestep in enumerate(scheduler.timesteps):
        for _ in range(passes[step]):
            output = case.pipe.transformer(**inputs(step), return_dict=False)[0]
        scheduler.step(output, timestep, inputs(step)["hidden_states"])


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ([2, 2, 1, 2, 2, 2], "1 times in step 2 of the schedule, but 2 times"),
        ([1, 1, 2, 1, 1, 1], "2 times in step 2"),
    ],
)
def test_passes_that_cannot_be_told_apart_are_refused(flux: Any, passes: list[int], message: str) -> None:
    with ecad.applied(flux.pipe, flux.heuristic("fora:2")) as handle:
        with pytest.raises(ecad.ScheduleError, match=message):
            run_steps(flux, passes)
        run_steps(flux, [3] * STEPS)
        assert handle.recomputed == 3 * 3 * 15


@torch.no_grad()
def test_a_pass_that_is_left_out_for_a_step_starts_anew(flux: Any) -> None:
    """What its store holds is then older than the schedule says."""
    transformer, scheduler = flux.pipe.transformer, flux.pipe.scheduler
    counts: list[int] = []
    with ecad.applied(flux.pipe, flux.heuristic("mask:0")) as handle:
        scheduler.set_timesteps(STEPS)
        for step, timestep in enumerate(scheduler.timesteps):
            for name in ("cond", "uncond") if step in (1, 2, 4, 5) else ("cond",):
                with transformer.cache_context(name):
                    output = transformer(**inputs(step), return_dict=False)[0]
            scheduler.step(output, timestep, inputs(step)["hidden_states"])
            counts.append(handle.recomputed)
    # "cond" computes its 15 components at step 0, "uncond" at steps 1 and 4.
    assert counts == [15, 30, 30, 30, 45, 45]


# --- image-to-image and inpainting ---


def image_to_image(case: Any) -> dict[str, Any]:
    case.pipe = FluxImg2ImgPipeline(**case.pipe.components)
    return {"image": PICTURE}


def inpaint(case: Any) -> dict[str, Any]:
    case.pipe = FluxInpaintPipeline(**case.pipe.components)
    return {"image": PICTURE, "mask_image": MASK}


@pytest.mark.parametrize("pipeline", [image_to_image, inpaint])
@pytest.mark.parametrize(("strength", "first_step"), [(1.0, 0), (0.67, 1), (0.5, 3), (0.2, 4)])
@pytest.mark.parametrize("guidance", [{}, TRUE_GUIDANCE])
def test_strength_enters_the_schedule_in_the_middle(
    flux: Any, pipeline: Any, strength: float, first_step: int, guidance: dict[str, Any]
) -> None:
    """The first step that runs recomputes everything, the rows after it are followed as they are."""
    call = {**pipeline(flux), "strength": strength, **guidance}
    flux.pipe.set_progress_bar_config(disable=True)
    untouched = flux.run(**call)
    schedule = flux.random_schedule(11, 0.3)
    expected = flux.reference_images(schedule, **call)
    held: list[int] = []
    with flux.recorded_executions() as executed, ecad.applied(flux.pipe, schedule) as handle:
        images = flux.run_noting(lambda _: held.append(handle.stored_outputs), **call)
        saved = handle.reused
    passes = 2 if guidance else 1
    plan = plan_execution(schedule, first_step)
    for name, runs in plan.runs.items():
        assert np.array_equal(executed[name], passes * runs)
    assert held == (passes * sum(stored_after_step(schedule, first_step).values())).tolist()[first_step:]
    assert np.array_equal(images, expected)
    assert saved == passes * (STEPS - first_step) * 15 - sum(array.sum() for array in executed.values())
    assert saved > 0
    assert not np.array_equal(images, untouched)
    with ecad.applied(flux.pipe, flux.heuristic("all")):
        assert np.array_equal(flux.run(**call), untouched)


# --- variants of the model ---


def test_ip_adapter(flux: Any) -> None:
    """Attention of the double-stream blocks then returns a third tensor; it is stored and reused with the others."""
    from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
    from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

    shared = flux.pipe.transformer
    flux.pipe.transformer = transformer = copy.deepcopy(shared)
    torch.manual_seed(3)
    projection = ImageProjection(image_embed_dim=8, cross_attention_dim=16, num_image_text_embeds=2)
    transformer.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    for block in transformer.transformer_blocks:
        block.attn.set_processor(FluxIPAdapterAttnProcessor(16, 16, num_tokens=(2,), scale=1.0))
    schedule = flux.random_schedule(5)
    nothing = [torch.zeros(1, 1, 8)]
    call = {"ip_adapter_image_embeds": [torch.randn(1, 1, 8)], "negative_ip_adapter_image_embeds": nothing}
    untouched = flux.run(**call)
    expected = flux.reference_images(schedule, **call)
    assert not np.array_equal(untouched, flux.run(**{**call, "ip_adapter_image_embeds": nothing}))
    lengths: set[int] = set()
    transformer.transformer_blocks[0].attn.register_forward_hook(
        lambda *arguments: lengths.add(len(arguments[-1]))
    )
    with ecad.applied(flux.pipe, schedule):
        assert np.array_equal(flux.run(**call), expected)
        assert lengths == {3}
    flux.pipe.transformer = shared


def test_a_model_without_guidance_embedding(flux: Any) -> None:
    """FLUX.1-schnell."""
    from diffusers import FluxTransformer2DModel

    shared = flux.pipe.transformer
    torch.manual_seed(4)
    flux.pipe.transformer = FluxTransformer2DModel.from_config(
        {**shared.config, "guidance_embeds": False}
    ).eval()
    flux.pipe.transformer.load_state_dict(shared.state_dict(), strict=False)
    schedule = flux.random_schedule(6)
    untouched, expected = flux.run(), flux.reference_images(schedule)
    with ecad.applied(flux.pipe, schedule):
        assert np.array_equal(flux.run(), expected)
    assert np.array_equal(flux.run(), untouched)
    flux.pipe.transformer = shared


# --- full size ---


def official_schedule(path: Path) -> Schedule:
    """A schedule as the paper's authors publish it: step -> block -> component -> bool."""
    import json

    steps = json.loads(path.read_text())["cache_schedule"]["schedule"]
    first = next(iter(steps.values()))
    lists: dict[str, list[str]] = {"transformer_blocks": [name for name in first if name.isdigit()]}
    family = "pixart"
    if any(name.startswith("single_") for name in first):
        family, lists[SINGLE] = "flux", [name for name in first if name.startswith("single_")]
    return Schedule(
        family,
        {
            name: np.array([[list(row[block].values()) for block in blocks] for row in steps.values()])
            for name, blocks in lists.items()
        },
    )


@pytest.mark.parametrize(
    ("class_name", "config", "file"),
    [
        ("FluxTransformer2DModel", {"guidance_embeds": True}, "flux_256/ours_fast.json"),
        ("FluxTransformer2DModel", {"guidance_embeds": True}, "flux_256_to_1024/fast_256_to_1024.json"),
        ("PixArtTransformer2DModel", {"num_layers": 28}, "pixart_alpha_256/ours_fast.json"),
        ("PixArtTransformer2DModel", {"num_layers": 28}, "pixart_alpha_256/ours_faster.json"),
    ],
)
def test_full_size_models_take_the_official_schedules(
    shared_folder: Path, class_name: str, config: dict[str, Any], file: str
) -> None:
    import diffusers

    schedule = official_schedule(shared_folder / "official" / "schedules" / file)
    with torch.device("meta"):
        transformer = getattr(diffusers, class_name)(**config)  # the classes' defaults are the models' sizes
    with ecad.applied(transformer, schedule) as handle:
        assert handle.schedule.steps == 20
    assert not any("_diffusers_hook" in vars(module) for module in transformer.modules())
