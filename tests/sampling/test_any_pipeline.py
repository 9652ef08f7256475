"""Pipelines without a sampler of ours: their own `__call__`, and costs as torch counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.flop_counter import FlopCounterMode

import ecad
from ecad.errors import ConfigError, ModelError
from ecad.families import FAMILIES, Family
from ecad.families.workload import workload_for
from ecad.measuring.macs import component_macs, component_output_values, constant_macs, uncached_macs
from ecad.sampling.any_pipeline import AnyPipelineSampler
from ecad.sampling.base import Job, SteppedSampler
from ecad.sampling.counting import counted_workload
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import heuristic

JOBS = [Job(0, 5), Job(1, 6)]
PROMPTS = ["a large red circle", "a small blue square"]


@pytest.fixture(scope="module")
def subject(tiny_folder: Path) -> Subject:
    choice = ModelChoice(str(tiny_folder), "cpu", embedding_cache=False)
    return prepare_subject(choice, Overrides(steps=4, guidance_scale=4.0, height=32, width=32))


class PlainPixArt:
    """The pipeline with the switches that PixArt's own call has on by default and a sampler off."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def __call__(
        self,
        prompt: Any,
        num_inference_steps: int = 20,
        guidance_scale: float = 4.5,
        height: int = 32,
        width: int = 32,
        generator: Any = None,
        output_type: str = "np",
        max_sequence_length: int = 120,
    ) -> Any:
        return self._pipe(
            prompt,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            height=height,
            width=width,
            generator=generator,
            output_type=output_type,
            max_sequence_length=max_sequence_length,
            clean_caption=False,
            use_resolution_binning=False,
        )


def own_call(subject: Subject) -> AnyPipelineSampler:
    from dataclasses import replace

    model = replace(subject.model, pipe=PlainPixArt(subject.model.pipe))
    subject.model.load_text_encoders()
    return AnyPipelineSampler(model, subject.settings)


def test_it_makes_the_images_that_our_sampler_makes(subject: Subject) -> None:
    ours, theirs = subject.sampler, own_call(subject)
    expected = ours.sample(ours.encode(PROMPTS, 2), JOBS)
    conditioning = theirs.encode(PROMPTS, 2)
    assert np.array_equal(theirs.sample(conditioning, JOBS), expected)
    assert isinstance(ours, SteppedSampler)
    assert not isinstance(theirs, SteppedSampler)
    assert theirs.has_guidance_rows
    assert not np.array_equal(theirs.with_steps(3).sample(conditioning, JOBS), expected)
    with ecad.applied(subject.model.pipe, heuristic("all", subject.shape)):
        assert np.array_equal(theirs.sample(conditioning, JOBS), expected)


def test_text_encoding_is_not_in_its_time(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = own_call(subject)
    clock = iter([0.0, 10.0, 13.0, 20.0])  # the call, text from 10 to 13, the end
    monkeypatch.setattr("ecad.sampling.any_pipeline.time.perf_counter", lambda: next(clock))
    encode = subject.model.pipe.encode_prompt
    # As a pipeline whose call encodes by its own method, the method that is watched.
    theirs.pipe.encode_prompt = encode
    monkeypatch.setattr(PlainPixArt, "__call__", lambda self, **_: (self.encode_prompt("x"), FakeOutput())[1])
    images, seconds = theirs.sample_timed(theirs.encode(PROMPTS, 2), JOBS)
    assert seconds == 17.0
    assert images.shape == (2, 4, 4, 3)


class FakeOutput:
    images = np.zeros((2, 4, 4, 3))


def test_what_the_call_does_not_take_is_named(subject: Subject) -> None:
    class NoPrompt(PlainPixArt):
        def __call__(self, generator: Any = None, output_type: str = "np") -> Any: ...  # type: ignore[override]

    from dataclasses import replace

    model = replace(subject.model, pipe=NoPrompt(subject.model.pipe))
    with pytest.raises(ConfigError, match="tiny-pixart is a NoPrompt, whose call takes no 'prompt'"):
        AnyPipelineSampler(model, subject.settings)


def test_what_the_call_does_not_like_is_one_line(subject: Subject) -> None:
    from dataclasses import replace

    model = replace(subject.model, pipe=PlainPixArt(subject.model.pipe))
    sampler = AnyPipelineSampler(model, replace(subject.settings, height=33))
    with pytest.raises(ModelError, match=r"tiny-pixart \(PlainPixArt\) failed: .*divisible by 8"):
        sampler.sample(sampler.encode(PROMPTS, 2), JOBS)


@pytest.mark.parametrize("name", ["pixart-mini", "flux-mini"])
def test_torch_counts_what_the_formulas_say(name: str) -> None:
    """Where there are formulas, both are the same numbers, to the last one; but for what the formulas leave out."""
    subject = prepare_subject(
        ModelChoice(name, "cpu"), Overrides(true_cfg_scale=2.0 if "flux" in name else None)
    )
    sampler, family = subject.sampler, subject.model.family
    conditioning = sampler.encode(["a large red circle"], 1)
    counted = counted_workload(subject.model.pipe, family, lambda: sampler.sample(conditioning, [Job(0, 0)]))
    tokens = subject.settings.max_sequence_length
    workload = workload_for(subject.source, has_guidance_rows=True, text_tokens=tokens)
    assert counted.component_macs == component_macs(workload)
    assert counted.output_values == component_output_values(workload)
    assert counted.constant_macs == constant_macs(workload)
    assert uncached_macs(20, counted) == uncached_macs(20, workload)
    assert nothing_is_left(subject.model.pipe)


def nothing_is_left(pipe: Any) -> bool:
    """Of the counting: hooks, the scheduler's step, torch's counter."""
    hooks = [
        hooks
        for module in pipe.transformer.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
    ]
    return not any(hooks) and "step" not in vars(pipe.scheduler) and not _get_current_dispatch_mode_stack()


def test_a_forward_that_fails_ends_the_counting(subject: Subject) -> None:
    pipe, sampler = subject.model.pipe, subject.sampler
    conditioning = sampler.encode(PROMPTS[:1], 1)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    failing = pipe.transformer.transformer_blocks[1].ff.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        counted_workload(pipe, FAMILIES["pixart"], lambda: sampler.sample(conditioning, JOBS[:1]))
    failing.remove()
    assert nothing_is_left(pipe)


def test_the_schedulers_own_step_comes_back(subject: Subject) -> None:
    pipe, sampler = subject.model.pipe, subject.sampler
    conditioning = sampler.encode(PROMPTS[:1], 1)
    pipe.scheduler.step = own = pipe.scheduler.step
    counted_workload(pipe, FAMILIES["pixart"], lambda: sampler.sample(conditioning, JOBS[:1]))
    assert pipe.scheduler.__dict__.pop("step") is own


def test_prompts_and_sizes_are_as_they_are_asked_for(subject: Subject) -> None:
    """PixArt's own call would take another size and clean the prompts: here it makes our sampler's images."""
    ours = subject.sampler
    expected = ours.sample(ours.encode(PROMPTS, 2), JOBS)
    subject.model.load_text_encoders()
    theirs = AnyPipelineSampler(subject.model, subject.settings)
    assert np.array_equal(theirs.sample(theirs.encode(PROMPTS, 2), JOBS), expected)


def test_without_formulas_the_subject_is_counted(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, subject: Subject
) -> None:
    from dataclasses import replace

    expected = uncached_macs(4, subject.workload)
    plain: Family = replace(FAMILIES["pixart"], formulas=None)
    monkeypatch.setitem(FAMILIES, "pixart", plain)
    choice = ModelChoice(str(tiny_folder), "cpu", embedding_cache=False)
    counted = prepare_subject(choice, Overrides(steps=4, guidance_scale=4.0, height=32, width=32)).workload
    assert uncached_macs(4, counted) == expected
    with pytest.raises(ModelError, match="no formulas for the MACs of family 'pixart'"):
        uncached_macs(4, counted, "paper")


def test_a_pipeline_that_takes_no_step_cannot_be_counted(subject: Subject) -> None:
    with pytest.raises(ModelError, match="cannot count the work of a PixArtAlphaPipeline: it took no step"):
        counted_workload(subject.model.pipe, FAMILIES["pixart"], lambda: None)


def test_the_flop_counter_knows_attention_on_cpus() -> None:
    """The premise of counting: torch's own table lacks the kernel that CPUs use."""
    from ecad.sampling.counting import flop_counter

    query = torch.zeros(1, 1, 4, 8)
    with flop_counter() as counter:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert isinstance(counter, FlopCounterMode)
    assert counter.get_total_flops() == 2 * 2 * 4 * 4 * 8
