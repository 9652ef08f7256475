"""Two block lists whose blocks take turns (Latte): what is compiled together must not jump over the other's blocks."""

from __future__ import annotations

import dataclasses

import torch
from conformance.models.pixart_like import MODELS
from conformance.tiny import StandIn, Subject

import ecad

BLOCKS = 5


def test_compiled_blocks_leave_room_for_those_between_them() -> None:
    tiny = next(each for each in MODELS if each.class_name == "LatteTransformer3DModel")
    subject = Subject(dataclasses.replace(tiny, config={**tiny.config, "num_layers": BLOCKS}))
    schedule = subject.heuristic("mask:0")
    temporal = schedule.recompute["temporal_transformer_blocks"] | True
    schedule = schedule.replace(
        recompute={**schedule.recompute, "temporal_transformer_blocks": temporal},
    )
    with ecad.applied(subject.transformer, schedule) as handle:
        assert len(handle._blocks) == BLOCKS, "the spatial blocks are PixArt's and have a fast path"
        expected = subject.run()
    pipe = StandIn(torch.compile(subject.transformer, backend="eager"))
    found = []
    with ecad.applied(pipe, schedule):
        pipe.begin()
        for step in range(schedule.steps):
            with torch.no_grad():
                inputs = subject.tiny.inputs(2, 1, step)
                found.append(pipe.transformer(**inputs, return_dict=False))
            pipe.advance()
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
