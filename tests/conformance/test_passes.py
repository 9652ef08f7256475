"""Components that some forwards do without."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance.tiny import STEPS, StandIn, Subject, equal, tensors_of, tiny_transformers

import ecad
from ecad.errors import ScheduleError


def subject_of(class_name: str) -> Subject:
    return Subject(next(each for each in tiny_transformers() if each.class_name == class_name))


def forward(subject: Subject, step: int, **changes: Any) -> tuple[torch.Tensor, ...]:
    inputs = {**subject.tiny.inputs(2, 1, step), **changes}
    with torch.no_grad():
        return tuple(tensors_of(subject.transformer(**inputs, return_dict=False)))


def test_a_pass_that_keeps_video_and_audio_apart() -> None:
    """LTX-2's third pass of a step, beside its first: each follows the schedule by itself."""
    subject = subject_of("LTX2VideoTransformer3DModel")
    schedule = subject.heuristic("random:0.5:1")
    changes: dict[str, dict[str, Any]] = {"together": {}, "apart": {"isolate_modalities": True}}
    alone: dict[str, list[tuple[torch.Tensor, ...]]] = {}
    for name, change in changes.items():
        with ecad.applied(subject.transformer, schedule):
            alone[name] = [forward(subject, step, **change) for step in range(STEPS)]
    assert not equal(*alone.values())
    pipe, found = StandIn(subject.transformer), {name: list[Any]() for name in changes}
    with ecad.applied(pipe, schedule):
        pipe.begin()
        for step in range(STEPS):
            for name, change in changes.items():
                with subject.transformer.cache_context(name):
                    found[name].append(forward(subject, step, **change))
            pipe.advance()
    for name, outputs in alone.items():
        assert equal(found[name], outputs)


def test_without_audio_its_components_rest() -> None:
    subject = subject_of("Kandinsky6Transformer3DModel")
    untouched = [forward(subject, step, audio_hidden_states=None) for step in range(STEPS)]
    with ecad.applied(subject.transformer, subject.heuristic("all")):
        assert equal([forward(subject, step, audio_hidden_states=None) for step in range(STEPS)], untouched)
    with ecad.applied(subject.transformer, subject.heuristic("mask:0")) as handle:
        forward(subject, 0, audio_hidden_states=None)
        before = handle.recomputed
        assert 0 < before < len(subject.names())
        for step in range(1, STEPS):
            forward(subject, step, audio_hidden_states=None)
        assert handle.recomputed == before


def test_a_component_that_every_pass_needs_is_missed() -> None:
    """A tool that replaced a block's forward: what it does not call cannot be cached."""
    subject = subject_of("LTX2VideoTransformer3DModel")
    block = subject.transformer.transformer_blocks[0]
    with ecad.applied(subject.transformer, subject.heuristic("mask:0")):
        block.forward = lambda hidden_states, audio_hidden_states, **_: (hidden_states, audio_hidden_states)
        with pytest.raises(ScheduleError, match=r"transformer_blocks\[0\]"):
            forward(subject, 0)
        del block.forward
