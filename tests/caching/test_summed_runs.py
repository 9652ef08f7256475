"""Stretches of reused blocks as sums: the same images within rounding, and as much stored as predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PixArtTransformer2DModel

import ecad
from ecad.schedule import Schedule, ScheduleShape, heuristic
from ecad.schedule.liveness import stored_after_step, stretches_after_step

STEPS, BLOCKS = 10, 8


@pytest.fixture(scope="module")
def transformer() -> Any:
    torch.manual_seed(0)
    return PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=BLOCKS,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        use_additional_conditions=False,
    ).eval()


def schedule_of(name: str) -> Schedule:
    """A heuristic, or one with few recomputations at random: "sparse:SEED"."""
    shape = ScheduleShape("pixart", STEPS, {"transformer_blocks": BLOCKS})
    if not name.startswith("sparse"):
        return heuristic(name, shape)
    arrays = shape.filled(False)
    rng = np.random.default_rng(int(name.partition(":")[2]))
    arrays["transformer_blocks"][1:] = rng.random((STEPS - 1, BLOCKS, 3)) < 0.03
    return Schedule("pixart", arrays)


@torch.no_grad()
def outputs(
    transformer: Any,
    schedule: Schedule,
    dtype: torch.dtype = torch.float32,
    then: Callable[[], None] = lambda: None,
    **options: Any,
) -> tuple[torch.Tensor, list[int]]:
    """Of all steps, and the number of tensors that are stored after each. `then` is called once it is applied."""
    found, stored = [], []
    with ecad.applied(transformer.to(dtype), schedule, **options) as handle:
        then()
        for step in range(STEPS):
            generator = torch.Generator().manual_seed(step)
            result = transformer(
                hidden_states=torch.randn(2, 4, 8, 8, generator=generator).to(dtype),
                encoder_hidden_states=torch.ones(2, 4, 16, dtype=dtype),
                timestep=torch.tensor([900 - 50 * step] * 2),
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
                return_dict=False,
            )[0]
            found.append(result.float())
            stored.append(handle.stored_outputs)
    return torch.stack(found), stored


NAMES = ("mask:0", "mask:0,5", "output:0,1", "sparse:2", "sparse:3")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("everywhere", [False, True])
def test_within_rounding_and_as_much_stored_as_predicted(
    transformer: Any, name: str, everywhere: bool
) -> None:
    schedule = schedule_of(name)
    exact, kept = outputs(transformer, schedule, summed_runs=False)
    summed, stored = outputs(transformer, schedule, summed_runs=True if everywhere else None)
    assert float((summed - exact).abs().max()) < 2e-6 * float(exact.abs().max())
    stretches = stretches_after_step(schedule, everywhere=everywhere)
    single = stored_after_step(schedule, summed_runs=True, everywhere=everywhere)
    predicted = sum(single.values()) + 3 * stretches
    assert stored == predicted.tolist()
    # So many small ones take more memory than outputs do.
    does_not_pay = everywhere and name.startswith("sparse")
    assert bool(stretches.any()) == (not name.startswith("output") and not does_not_pay)
    if name.startswith("mask"):
        assert not torch.equal(summed, exact)  # it is another order of additions
        assert max(stored) == 3 < max(kept) == 3 * BLOCKS


@pytest.mark.parametrize("name", NAMES[:2])
def test_in_bfloat16_no_further_apart_than_bfloat16_is_from_float32(transformer: Any, name: str) -> None:
    schedule = schedule_of(name)
    exact, _ = outputs(transformer, schedule)
    half, _ = outputs(transformer, schedule, torch.bfloat16)
    summed, _ = outputs(transformer, schedule, torch.bfloat16, summed_runs=True)
    transformer.to(torch.float32)
    assert float((summed - half).norm()) <= float((half - exact).norm())


def test_by_default_and_never_without_the_fast_path(transformer: Any) -> None:
    schedule = schedule_of("mask:0")
    exact, kept = outputs(transformer, schedule, summed_runs=False)
    summed, sums = outputs(transformer, schedule)
    assert sums == outputs(transformer, schedule, summed_runs=True)[1] < kept
    assert not torch.equal(summed, exact)
    for options in ({"fast_path": False}, {"fast_path": False, "summed_runs": True}):
        found, stored = outputs(transformer, schedule, **options)
        assert torch.equal(found, exact)
        assert stored == kept


def test_what_belongs_to_one_schedule_is_not_kept_for_others(transformer: Any) -> None:
    with ecad.applied(transformer, schedule_of("mask:0"), summed_runs=True) as handle:
        with pytest.raises(ValueError, match="summed_runs=True"):
            handle.keep_everything(True)
        handle.keep_everything(False)
    with ecad.applied(transformer, schedule_of("mask:0")) as handle:
        handle.keep_everything(True)
        assert not handle._state.summed_runs


def test_a_block_that_is_skipped_where_it_is_summed_is_refused(transformer: Any) -> None:
    """As layer-skipping guidance does: the sum would lack its part."""
    everything = transformer.transformer_blocks

    def forward(step: int) -> None:
        transformer(
            hidden_states=torch.zeros(1, 4, 8, 8),
            encoder_hidden_states=torch.ones(1, 4, 16),
            timestep=torch.tensor([900 - 50 * step]),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        )

    with ecad.applied(transformer, schedule_of("mask:0,5"), summed_runs=True), torch.no_grad():
        for step in range(5):
            forward(step)
        transformer.transformer_blocks = torch.nn.ModuleList([*everything[:3], *everything[4:]])
        forward(5)
        transformer.transformer_blocks = everything
        with pytest.raises(ecad.ScheduleError, match=r"did not run.*summed_runs=False"):
            forward(6)


def test_nobody_sees_sums_in_a_blocks_place(transformer: Any) -> None:
    seen: list[torch.Tensor] = []

    def watch() -> Any:
        block = transformer.transformer_blocks[3]
        return block.register_forward_hook(lambda _module, _args, output: seen.append(output))

    exact, kept = outputs(transformer, schedule_of("mask:0"), summed_runs=False)
    with ecad.applied(transformer, schedule_of("mask:0"), summed_runs=True):
        watching = watch()
        with pytest.raises(ecad.ScheduleError, match="summed_runs=True"):
            transformer(
                hidden_states=torch.ones(2, 4, 8, 8),
                encoder_hidden_states=torch.ones(2, 4, 16),
                timestep=torch.tensor([900, 900]),
                added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            )
    with ecad.applied(transformer, schedule_of("mask:0"), summed_runs=True) as handle:
        assert not handle._state.summed_runs
    watching.remove()

    handles: list[Any] = []
    found, stored = outputs(transformer, schedule_of("mask:0"), then=lambda: handles.append(watch()))
    handles[0].remove()
    assert torch.equal(found, exact)
    assert stored == kept
    assert len(seen) == STEPS
