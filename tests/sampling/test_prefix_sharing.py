"""Images of schedules that share their first steps are those of each one alone, bit for bit, for less work."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from tiny_models import save_tiny_model, tiny_flux

import ecad
from ecad.families import find_model, get_family
from ecad.sampling.base import Job
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.loading import LoadedModel
from ecad.sampling.prefix_sharing import sample_sharing
from ecad.sampling.samplers import make_sampler
from ecad.schedule import (
    HOLDS_DENOISED,
    HOLDS_OUTPUT,
    Schedule,
    ScheduleShape,
    from_genome,
    gene_layout,
    genome_length,
    group_by_prefix,
    heuristic,
    plan_execution,
    shared_steps,
)

PROMPTS = ["a large red circle", "a green cross"]
JOBS = [Job(0, 11), Job(1, 12)]


def family_tree(shape: ScheduleShape, count: int, seed: int) -> list[Schedule]:
    """Random schedules of which each begins as an earlier one does, sorted as a search would group them."""
    rng = np.random.default_rng(seed)
    genomes = [rng.random(genome_length(shape)) < 0.5]
    while len(genomes) < count:
        # Flips in late steps only.
        parent = genomes[int(rng.integers(len(genomes)))]
        first = int(rng.integers(1, shape.steps))
        genomes.append(parent ^ ((rng.random(len(parent)) < 0.5) & (gene_layout(shape).steps >= first)))
    schedules = [from_genome(genome, shape) for genome in genomes]
    [order] = group_by_prefix(schedules, count)
    return [schedules[index] for index in order]


def check(sampler: Any, schedules: list[Schedule], component_class: type) -> None:
    """The latents are those of each schedule alone, bit for bit, and less is computed."""
    sampler.decode = lambda latents: latents.numpy().copy()  # images would hide small differences
    calls = 0

    def count(*arguments: Any) -> None:
        nonlocal calls
        calls += 1

    hooks = [
        module.register_forward_hook(count)
        for module in sampler.pipe.transformer.modules()
        if isinstance(module, component_class)
    ]
    conditioning = sampler.encode(PROMPTS, batch_size=2)
    alone, alone_calls = [], 0
    for schedule in schedules:
        with ecad.applied(sampler.pipe, schedule):
            alone.append(sampler.sample(conditioning, JOBS))
    alone_calls, calls = calls, 0
    together = list(sample_sharing(sampler, conditioning, JOBS, schedules))
    for hook in hooks:
        hook.remove()
    assert [latents.tobytes() for latents in alone] == [latents.tobytes() for latents in together]
    assert len({latents.tobytes() for latents in alone}) == len(schedules)  # they do differ
    assert calls < alone_calls
    # Afterwards the model is as it was.
    assert np.array_equal(together[0], _alone(sampler, conditioning, schedules[0]))


def _alone(sampler: Any, conditioning: Any, schedule: Schedule) -> np.ndarray:
    with ecad.applied(sampler.pipe, schedule):
        latents: np.ndarray = sampler.sample(conditioning, JOBS)
    return latents


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
        (DPMSolverMultistepScheduler, {"solver_order": 3, "use_karras_sigmas": True}),
        (EulerAncestralDiscreteScheduler, {}),
        (DDIMScheduler, {}),
    ],
)
def test_pixart(tiny_pipe: Any, tiny_folder: Path, scheduler: tuple[Any, dict[str, Any]] | None) -> None:
    """Multistep solvers have a memory, some schedulers draw noise at every step, and some have no step index."""
    from diffusers.models.attention import FeedForward

    if scheduler is not None:
        tiny_pipe.scheduler = scheduler[0].from_config(tiny_pipe.scheduler.config, **scheduler[1])
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler = make_sampler(
        model, GenerationSettings(steps=7, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    )
    for holds in (HOLDS_OUTPUT, HOLDS_DENOISED):
        shape = ScheduleShape("pixart", 7, {"transformer_blocks": 3}, holds)
        check(sampler, family_tree(shape, 6, 0), FeedForward)
        assert "step" not in vars(tiny_pipe.scheduler)


def test_any_order(tiny_pipe: Any, tiny_folder: Path) -> None:
    """A schedule that never reuses the whole output comes first, one that does goes on from its steps."""
    from diffusers.models.attention import FeedForward

    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    settings = GenerationSettings(steps=7, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    shape = ScheduleShape("pixart", 7, {"transformer_blocks": 3})
    order = [heuristic(name, shape) for name in ("mask:0,2,3,5", "output:0,1,2,4", "mask:0,2", "output:0,4")]
    check(make_sampler(model, settings), order, FeedForward)
    every, none = heuristic("all", shape), heuristic("output:0,1,4", shape)
    check(make_sampler(model, settings), [every, none], FeedForward)
    # What is held goes on with the steps, be it of a schedule that holds nothing itself.
    steps = ("0,1,2", "0,1,4", "0,1,3,5", "0,3", "0", "0,1,2,3,4,5,6", "0,1,5")
    check(
        make_sampler(model, settings), [heuristic(f"denoised:{each}", shape) for each in steps], FeedForward
    )
    assert "step" not in vars(tiny_pipe.scheduler)


@pytest.mark.parametrize("true_cfg_scale", [1.0, 2.5])
def test_flux_with_dead_compute_and_two_passes(
    tmp_path_factory: pytest.TempPathFactory, true_cfg_scale: float
) -> None:
    from diffusers.models.transformers.transformer_flux import FluxAttention

    folder = save_tiny_model("flux-dev", tmp_path_factory.mktemp("flux") / "dev")
    pipe = tiny_flux()
    model = LoadedModel(find_model(str(folder)), get_family("flux"), pipe, torch.device("cpu"))
    sampler = make_sampler(
        model,
        GenerationSettings(
            steps=6,
            guidance_scale=5.0,
            height=32,
            width=32,
            max_sequence_length=24,
            true_cfg_scale=true_cfg_scale,
        ),
    )
    config = pipe.transformer.config
    shape = ScheduleShape(
        "flux",
        6,
        {
            "transformer_blocks": config.num_layers,
            "single_transformer_blocks": config.num_single_layers,
        },
    )
    for seed in (0, 1):
        check(sampler, family_tree(shape, 6, seed), FluxAttention)


def test_only_the_steps_that_differ_are_computed(tiny_pipe: Any, tiny_folder: Path) -> None:
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler = make_sampler(
        model, GenerationSettings(steps=6, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    )
    forwards: list[int] = []
    tiny_pipe.transformer.register_forward_hook(lambda *arguments: forwards.append(1))
    schedules = family_tree(ScheduleShape("pixart", 6, {"transformer_blocks": 3}), 5, 2)
    list(sample_sharing(sampler, sampler.encode(PROMPTS, 2), JOBS, schedules))
    shared = sum(shared_steps(one, other) for one, other in pairwise(schedules))
    assert len(forwards) == 5 * 6 - shared
    assert shared >= 8


def test_an_error_leaves_the_model_untouched(tiny_pipe: Any, tiny_folder: Path) -> None:
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler = make_sampler(
        model, GenerationSettings(steps=6, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    )
    schedules = family_tree(ScheduleShape("pixart", 6, {"transformer_blocks": 3}), 3, 2)
    conditioning = sampler.encode(PROMPTS, 2)
    before = sampler.sample(conditioning, JOBS)
    images = sample_sharing(sampler, conditioning, JOBS, schedules)
    next(images)
    images.close()  # type: ignore[attr-defined]
    assert np.array_equal(sampler.sample(conditioning, JOBS), before)
    handle = ecad.apply(tiny_pipe, schedules[0])
    with pytest.raises(ecad.ScheduleError, match="already applied"):
        next(sample_sharing(sampler, conditioning, JOBS, schedules))
    handle.remove()


def test_what_is_kept_for_others_is_freed_again(tiny_pipe: Any, tiny_folder: Path) -> None:
    """After the last branching a schedule keeps what it reads itself, no more."""
    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler = make_sampler(
        model, GenerationSettings(steps=6, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    )
    schedules = family_tree(ScheduleShape("pixart", 6, {"transformer_blocks": 3}), 3, 2)
    stored: list[int] = []
    hook = tiny_pipe.transformer.register_forward_hook(
        lambda *arguments: stored.append(tiny_pipe.transformer._ecad_applied.stored_outputs)
    )
    images = sample_sharing(sampler, sampler.encode(PROMPTS, 2), JOBS, schedules)
    for _ in images:
        pass
    hook.remove()
    last = schedules[-1]
    keeps = plan_execution(last).keeps["transformer_blocks"].sum(axis=(1, 2)).tolist()
    own = 6 - shared_steps(schedules[-2], last)
    # Our hook runs before ecad's own, that is before the step's end, but after its last component.
    assert stored[-own:] == keeps[-own:]


def test_saved_states_go_when_no_later_schedule_needs_them(
    tiny_pipe: Any, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weakref

    from ecad.sampling.denoising import Denoising

    model = LoadedModel(find_model(str(tiny_folder)), get_family("pixart"), tiny_pipe, torch.device("cpu"))
    sampler: Any = make_sampler(
        model, GenerationSettings(steps=6, guidance_scale=4.0, height=16, width=16, max_sequence_length=12)
    )
    saved: list[weakref.ref[Any]] = []
    save = Denoising.save

    def noted(self: Denoising) -> Any:
        state = save(self)
        saved.append(weakref.ref(state))
        return state

    monkeypatch.setattr(Denoising, "save", noted)
    alive: list[int] = []
    decode = sampler.decode

    def counted(latents: torch.Tensor) -> Any:
        alive.append(sum(state() is not None and state().step > 0 for state in saved))
        return decode(latents)

    sampler.decode = counted
    schedules = family_tree(ScheduleShape("pixart", 6, {"transformer_blocks": 3}), 5, 2)
    for _ in sample_sharing(sampler, sampler.encode(PROMPTS, 2), JOBS, schedules):
        pass
    shared = [shared_steps(one, other) for one, other in pairwise(schedules)]
    # While schedule k is decoded: the states at which one of the later ones branches off.
    expected = [len({min(shared[k : later + 1]) for later in range(k, len(shared))}) for k in range(5)]
    assert alive == expected
    assert alive[-1] == 0
