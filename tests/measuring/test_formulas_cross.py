"""Formulas of the families with cross-attention or one stream, against torch's own count on the tiny transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from conformance.tiny import StandIn, Subject, TinyTransformer, tiny_transformers

from ecad.families.family import CountedWorkload, Workload
from ecad.measuring.macs import (
    component_macs,
    component_output_values,
    constant_macs,
    uncached_macs,
    whole_output_values,
)
from ecad.sampling.counting import counted_workload

# By label: image tokens, text tokens and latent height and width of one row of a tiny model's inputs of size 1.
SIZES = {
    "SanaTransformer2DModel": (16, 5, 4),
    "SanaTransformer2DModel-sprint": (4, 5, 4),
    "ZImageTransformer2DModel": (4, 5, 4),
    "Lumina2Transformer2DModel": (4, 5, 4),
    "DiTTransformer2DModel": (4, 1, 4),
    "HunyuanDiT2DModel": (4, 7, 4),
    "HunyuanDiT2DModel-style": (4, 7, 4),
}
TINY = {each.label: each for each in tiny_transformers() if each.label in SIZES}


def both_workloads(tiny: TinyTransformer) -> tuple[Workload, CountedWorkload]:
    """By formula and as torch counts it: two rows, as those of one image."""
    image, text, latents = SIZES[tiny.label]
    subject = Subject(tiny)
    pipe = StandIn(subject.transformer)

    def one_step() -> None:
        pipe.begin()
        subject.forward(0)
        pipe.advance()

    workload = Workload(
        family=subject.family.name,
        transformer=dict(subject.transformer.config),
        height=8 * latents,
        width=8 * latents,
        latent_height=latents,
        latent_width=latents,
        image_tokens=image,
        text_tokens=text,
        rows=2,
    )
    counted: Any = counted_workload(SimpleNamespace(**vars(pipe)), subject.family, one_step)
    return workload, counted


@pytest.mark.parametrize("label", SIZES)
def test_formulas_are_what_torch_counts(label: str) -> None:
    workload, counted = both_workloads(TINY[label])
    assert component_macs(workload) == component_macs(counted)
    assert constant_macs(workload) == constant_macs(counted)
    assert uncached_macs(3, workload) == uncached_macs(3, counted)
    assert component_output_values(workload) == component_output_values(counted)
    assert whole_output_values(workload) == whole_output_values(counted)


@pytest.mark.parametrize("label", SIZES)
def test_the_papers_convention_leaves_out_products_of_tokens(label: str) -> None:
    workload, _ = both_workloads(TINY[label])
    true, paper = component_macs(workload), component_macs(workload, "paper")
    assert true.keys() == paper.keys()
    assert all((paper[part] < true[part]) == ("att" in part[1]) for part in true)
    assert constant_macs(workload, "paper") <= constant_macs(workload)
