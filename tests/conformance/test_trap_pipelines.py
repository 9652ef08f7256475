"""Diffusers' own pipelines round tiny transformers, where they call them in ways that could mix up stored outputs.

What they must give is worked out by the plainest possible implementation, which knows what each pass is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from conformance.test_traps import subject_of
from conformance.tiny import StandIn, Subject, noise, tiny_transformers

import ecad
from ecad.caching.modules import component_modules
from ecad.sampling.recording import record
from ecad.schedule import Schedule, ScheduleShape, heuristic

STEPS = 6


class Case:
    """A pipeline's call, and what tells its passes apart by a forward's arguments."""

    def __init__(
        self, subject: Subject, pipe: Any, call: dict[str, Any], kind: Callable[[dict[str, Any]], Hashable]
    ) -> None:
        self.pipe, self.call, self.kind = pipe, call, kind
        pipe.set_progress_bar_config(disable=True)
        self.family = subject.family
        self.shape = ScheduleShape(subject.family.name, STEPS, subject.shape.blocks)
        names = ("transformer", "transformer_2")
        self.transformers = [each for name in names if (each := getattr(pipe, name, None)) is not None]

    def run(self, **more: Any) -> torch.Tensor:
        latents = noise(*self.call["latents"].shape, seed=7)
        call = {**self.call, "latents": latents, "num_inference_steps": STEPS, **more}
        return self.pipe(output_type="latent", return_dict=False, **call)[0]

    def schedule(self, name: str) -> Schedule:
        return heuristic(name, self.shape)

    @contextmanager
    def plain(self, schedule: Schedule) -> Iterator[None]:
        """Each kind of pass of each transformer stores for itself; where it did not run a step before it recomputes."""
        stored: dict[Any, Any] = {}
        last: dict[Any, int] = {}
        now: dict[str, Any] = {}
        handles, replaced = [], []

        def before(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            step = self.pipe.scheduler.step_index or 0
            if step == 0 and now.get("step", 0) > 0:
                stored.clear()
                last.clear()
            kind = id(module), self.kind({**dict(zip(("x", "t", "cap_feats"), args, strict=False)), **kwargs})
            now.update(step=step, kind=kind, starts=last.get(kind, -2) != step - 1, calls={})
            last[kind] = step

        def component(key: Any, original: Any) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                number = now["calls"][key] = now["calls"].get(key, 0) + 1
                place = now["kind"], key, number
                flagged = schedule.recompute[key[0]][now["step"], key[1], key[2]]
                if flagged or now["starts"] or place not in stored:
                    stored[place] = original(*args, **kwargs)
                return stored[place]

            return forward

        for transformer in self.transformers:
            handles.append(transformer.register_forward_pre_hook(before, with_kwargs=True))
            for key, module in component_modules(transformer, self.family).items():
                module.forward = component(key, module.forward)
                replaced.append(module)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in replaced:
                del module.forward


def sd3() -> Case:
    """Skip-layer guidance: in steps 1 and 2 a second pass, of one row, without block 1."""
    subject = subject_of("SD3Transformer2DModel")
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=subject.transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        **dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")),
        **dict.fromkeys(("text_encoder_3", "tokenizer_3")),
    )
    call = {
        "prompt_embeds": noise(1, 5, 12, seed=1),
        "negative_prompt_embeds": noise(1, 5, 12, seed=2),
        "pooled_prompt_embeds": noise(1, 10, seed=3),
        "negative_pooled_prompt_embeds": noise(1, 10, seed=4),
        "latents": noise(1, 4, 8, 8),
        "height": 64,
        "width": 64,
        "guidance_scale": 3.0,
        "skip_guidance_layers": [1],
        "skip_layer_guidance_stop": 0.5,
    }
    return Case(subject, pipe, call, lambda given: "skip_layers" in given)


def lumina2() -> Case:
    """Two forwards a step without contexts; the unconditional one stops after half of the steps."""
    subject = subject_of("Lumina2Transformer2DModel")
    pipe = diffusers.Lumina2Pipeline(
        transformer=subject.transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        **dict.fromkeys(("vae", "text_encoder", "tokenizer")),
    )
    texts = noise(1, 5, 12, seed=1), noise(1, 5, 12, seed=2)
    mask = torch.ones(1, 5, dtype=torch.bool)
    call = {
        "prompt_embeds": texts[0],
        "negative_prompt_embeds": texts[1],
        "prompt_attention_mask": mask,
        "negative_prompt_attention_mask": mask.clone(),
        "latents": noise(1, 4, 8, 8),
        "height": 64,
        "width": 64,
        "guidance_scale": 3.0,
        "cfg_trunc_ratio": 0.5,
    }
    return Case(
        subject, pipe, call, lambda given: bool(torch.equal(given["encoder_hidden_states"], texts[0]))
    )


def zimage() -> Case:
    """Both rows of guidance in one forward; the batch halves in the middle."""
    subject = subject_of("ZImageTransformer2DModel")
    pipe = diffusers.ZImagePipeline(
        transformer=subject.transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        **dict.fromkeys(("vae", "text_encoder", "tokenizer")),
    )
    call = {
        "prompt_embeds": [noise(5, 12, seed=1)],
        "negative_prompt_embeds": [noise(6, 12, seed=2)],
        "latents": noise(1, 4, 8, 8),
        "height": 64,
        "width": 64,
        "guidance_scale": 3.0,
        "cfg_truncation": 0.5,
    }
    return Case(subject, pipe, call, lambda given: len(given["x"]))


def wan() -> Case:
    """Two transformers: one for the noisier steps, one for the others; cache contexts for both passes."""
    subject = subject_of("WanTransformer3DModel")
    second = next(each for each in tiny_transformers() if each.class_name == "WanTransformer3DModel").build()
    for parameter in second.parameters():
        parameter.mul_(1.1)
    pipe = diffusers.WanPipeline(
        transformer=subject.transformer,
        transformer_2=second,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        boundary_ratio=0.5,
        **dict.fromkeys(("vae", "text_encoder", "tokenizer")),
    )
    texts = noise(1, 5, 12, seed=1), noise(1, 5, 12, seed=2)
    call = {
        "prompt_embeds": texts[0],
        "negative_prompt_embeds": texts[1],
        "latents": noise(1, 4, 2, 8, 8),
        "height": 64,
        "width": 64,
        "num_frames": 5,
        "guidance_scale": 3.0,
    }
    return Case(
        subject, pipe, call, lambda given: bool(torch.equal(given["encoder_hidden_states"], texts[0]))
    )


CASES = {"sd3": sd3, "lumina2": lumina2, "zimage": zimage, "wan": wan}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    found = CASES[request.param]()
    yield found
    ecad.remove(found.pipe)


def test_the_trap_is_there(case: Case) -> None:
    """The forwards of a call: which kinds of passes ran in which steps."""
    seen: list[Any] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        given = {**dict(zip(("x", "t", "cap_feats"), args, strict=False)), **kwargs}
        number = case.transformers.index(module)
        seen.append((case.pipe.scheduler.step_index or 0, number, case.kind(given)))

    handles = [each.register_forward_pre_hook(note, with_kwargs=True) for each in case.transformers]
    case.run()
    for handle in handles:
        handle.remove()
    by_step = [[(number, kind) for at, number, kind in seen if at == step] for step in range(STEPS)]
    expected = {
        "SD3Transformer2DModel": [[(0, False)]] + [[(0, False), (0, True)]] * 2 + [[(0, False)]] * 3,
        "Lumina2Transformer2DModel": [[(0, True), (0, False)]] * 3 + [[(0, True)]] * 3,
        "ZImageTransformer2DModel": [[(0, 2)]] * 4 + [[(0, 1)]] * 2,
        "WanTransformer3DModel": [[(0, True), (0, False)]] * 3 + [[(1, True), (1, False)]] * 3,
    }
    assert by_step == expected[type(case.pipe.transformer).__name__]


@pytest.mark.parametrize("name", ["all", "mask:0", "fora:2", "random:0.5:1", "random:0.3:2"])
def test_the_plainest_implementation_gives_the_same(case: Case, name: str) -> None:
    untouched = case.run()
    schedule = case.schedule(name)
    with case.plain(schedule):
        expected = case.run()
    assert torch.equal(expected, untouched) == (name == "all")
    with ecad.applied(case.pipe, schedule) as handle:
        for _ in range(2):
            assert torch.equal(case.run(), expected)
            assert handle.stored_outputs == 0
    assert torch.equal(case.run(), untouched)


def test_the_whole_output_is_reused_only_by_its_own_pass(case: Case) -> None:
    runs = np.ones(STEPS, dtype=np.bool_)
    runs[[1, 3, 4, 5]] = False
    schedule = case.schedule("all").replace(recompute_output=runs)
    outputs: dict[Any, list[tuple[int, torch.Tensor]]] = {}

    def note(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        given = {**dict(zip(("x", "t", "cap_feats"), args, strict=False)), **kwargs}
        step = case.pipe.scheduler.step_index or 0
        first = output[0][0] if isinstance(output[0], list) else output[0]
        outputs.setdefault((id(module), case.kind(given)), []).append((step, first))

    with ecad.applied(case.pipe, schedule):
        handles = [each.register_forward_hook(note, with_kwargs=True) for each in case.transformers]
        case.run()
        for handle in handles:
            handle.remove()
    for made in outputs.values():
        for (before, one), (step, two) in pairwise(made):
            assert (two is one or torch.equal(one, two)) == (step == before + 1 and not runs[step])


class TestTwoTransformers:
    def test_each_step_is_whose_turn_it_is(self) -> None:
        """Steps 0 to 2 are the first one's, the others the second's, which recomputes all where it takes over."""
        case = wan()
        held: list[int] = []

        def note(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
            held.append(handle.stored_outputs)
            return {}

        parts = len(component_modules(case.pipe.transformer, case.family))
        with ecad.applied(case.pipe, case.schedule("mask:0")) as handle:
            case.run(callback_on_step_end=note)
            assert (handle.recomputed, handle.reused) == (2 * 2 * parts, 2 * 4 * parts)
            assert held == [2 * parts] * 5 + [0]  # never those of both
            assert handle.schedule.steps == STEPS
            with pytest.raises(ecad.ScheduleError, match="already applied"):
                ecad.apply(case.pipe.transformer_2, case.schedule("all"))
        assert not any(vars(each).get("_ecad_applied") for each in case.transformers)

    def test_a_call_that_ends_early_leaves_nothing_for_the_next(self) -> None:
        case = wan()
        with ecad.applied(case.pipe, case.schedule("fora:3")):
            expected = case.run()

            def stop(at: int, pipe: Any, step: int, *_: Any) -> dict[str, Any]:
                if step == at:
                    raise KeyboardInterrupt
                return {}

            for at in (1, 4):
                with pytest.raises(KeyboardInterrupt):
                    case.run(callback_on_step_end=partial(stop, at))
                assert torch.equal(case.run(), expected)

    def test_where_there_is_only_the_second(self) -> None:
        case = wan()
        case.pipe.transformer = None
        with ecad.applied(case.pipe, case.schedule("fora:2")) as handle:
            assert handle.stored_outputs == 0
            assert vars(case.pipe.transformer_2).get("_ecad_applied") is handle

    def test_different_families_are_refused_in_one_line(self) -> None:
        case = wan()
        case.pipe.transformer_2 = subject_of("SD3Transformer2DModel").transformer
        with pytest.raises(ecad.ModelError) as error:
            ecad.apply(case.pipe, case.schedule("fora:2"))
        assert str(error.value) == (
            "WanPipeline has a WanTransformer3DModel of family 'wan' and a SD3Transformer2DModel of family 'sd3', and "
            "a schedule is for one family: apply it to one of them alone (ecad.apply(pipe.transformer, ...))"
        )
        assert not any(module._forward_hooks for module in case.pipe.transformer.modules())

    def test_other_blocks_are_refused_and_leave_both_untouched(self) -> None:
        case = wan()
        del case.pipe.transformer_2.blocks[-1]
        with pytest.raises(ecad.ScheduleError, match="for blocks {'blocks': 3}, the model has {'blocks': 2}"):
            ecad.apply(case.pipe, case.schedule("fora:2"))
        assert not any(vars(each).get("_ecad_applied") for each in case.transformers)

    def test_calibration_takes_the_steps_of_both(self) -> None:
        case = wan()
        calibration = record(case.transformers, case.family, case.shape, case.run)
        assert calibration.shape == case.shape
        gap = calibration.components["blocks"]
        assert (gap[3, 4] > 0).all()
        assert np.isfinite(calibration.output).all()


def test_a_forward_that_writes_keys_is_let_pass() -> None:
    """GLM-Image's condition pictures go through the transformer before the call's steps."""
    from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

    subject = subject_of("GlmImageTransformer2DModel")
    pipe = StandIn(subject.transformer)
    schedule = subject.heuristic("fora:2")
    expected = subject.reference(schedule)
    with ecad.applied(pipe, schedule) as handle:
        for _ in range(2):
            caches = GlmImageKVCache(num_layers=len(subject.transformer.transformer_blocks))
            caches.set_mode("write")
            with torch.no_grad():
                subject.transformer(**subject.tiny.inputs(1, 1, 0), kv_caches=caches)
            assert all(len(each.k_caches) == 1 for each in caches.caches)
            pipe.begin()
            found = []
            for step in range(subject.shape.steps):
                found.append(subject.forward(step))
                pipe.advance()
            assert all(torch.equal(one[0], two[0]) for one, two in zip(found, expected, strict=True))
        assert handle.recomputed == int(sum(array.sum() for array in schedule.recompute.values()))
