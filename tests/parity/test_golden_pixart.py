"""PixArt against the official implementation: step by step, with the paper's own schedules.

The numbers were computed on a small random model of the paper's depth (28 blocks). They are read from a folder
that is not part of this repository; without it these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ecad
from ecad.schedule import Schedule

GUIDANCE = 4.5
# The folder's README: teacher-forced 1e-4 at worst, closed loop 5e-4; latents grow to about 1.2e3, so relative.
TEACHER_FORCED, CLOSED_LOOP, LATENTS_RELATIVE = 1e-4, 5e-4, 1e-5


@pytest.fixture(scope="module")
def golden(shared_folder: Path) -> Path:
    folder = shared_folder / "golden" / "pixart"
    if not folder.is_dir():
        pytest.skip("no golden PixArt numbers here")
    return folder


@pytest.fixture(scope="module")
def transformer(golden: Path) -> Any:
    from diffusers import PixArtTransformer2DModel

    return PixArtTransformer2DModel.from_pretrained(golden / "transformer").eval()


@pytest.fixture(scope="module")
def inputs(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "inputs.safetensors")


def schedule_of(tensors: dict[str, torch.Tensor]) -> Schedule:
    return Schedule("pixart", {"transformer_blocks": tensors["schedule"].numpy().astype(bool)})


def forward(
    transformer: Any, inputs: dict[str, torch.Tensor], latents: torch.Tensor, timestep: Any
) -> torch.Tensor:
    return transformer(
        torch.cat([latents] * 2),
        encoder_hidden_states=inputs["model_encoder_hidden_states"],
        encoder_attention_mask=inputs["model_encoder_attention_mask"],
        timestep=timestep.expand(2),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        return_dict=False,
    )[0]


def executed_components(transformer: Any, executed: list[np.ndarray]) -> list[Any]:
    """Hooks that note which components run, in the newest array of `executed` (blocks, components)."""
    handles = []
    for block_index, block in enumerate(transformer.transformer_blocks):
        for index, module in enumerate((block.attn1.to_q, block.attn2.to_q, block.ff.net[0].proj)):

            def note(*_: Any, block_index: int = block_index, index: int = index) -> None:
                executed[-1][block_index, index] = True

            handles.append(module.register_forward_hook(note))
    return handles


@pytest.mark.parametrize("run", ["uncached", "ours_fast", "ours_faster"])
@torch.no_grad()
def test_teacher_forced(golden: Path, transformer: Any, inputs: dict[str, torch.Tensor], run: str) -> None:
    """Each step gets the recorded latents: the model's output and the set of executed components agree."""
    recorded = load_file(golden / f"{run}.safetensors")
    executed: list[np.ndarray] = []
    handles = executed_components(transformer, executed)
    worst = 0.0
    try:
        with ecad.applied(transformer, schedule_of(recorded)):
            for step, timestep in enumerate(inputs["timesteps"]):
                executed.append(np.zeros((28, 3), dtype=np.uint8))
                output = forward(transformer, inputs, recorded["latents"][step], timestep)
                worst = max(worst, float((output - recorded["model_output"][step]).abs().max()))
    finally:
        for handle in handles:
            handle.remove()
    assert worst <= TEACHER_FORCED
    assert np.array_equal(np.stack(executed), recorded["executed"].numpy())


@pytest.mark.parametrize("run", ["uncached", "ours_fast", "ours_faster"])
@torch.no_grad()
def test_closed_loop(golden: Path, transformer: Any, inputs: dict[str, torch.Tensor], run: str) -> None:
    """The whole denoising with our own scheduler: errors would add up over 20 steps."""
    from diffusers import DPMSolverMultistepScheduler

    recorded = load_file(golden / f"{run}.safetensors")
    config = json.loads((golden / "scheduler" / "scheduler_config.json").read_text())
    scheduler = DPMSolverMultistepScheduler.from_config(config)
    scheduler.set_timesteps(20)
    assert torch.equal(scheduler.timesteps, inputs["timesteps"])
    latents = inputs["latents"] * scheduler.init_noise_sigma
    with ecad.applied(transformer, schedule_of(recorded)):
        for step, timestep in enumerate(scheduler.timesteps):
            output = forward(transformer, inputs, latents, timestep)
            assert float((output - recorded["model_output"][step]).abs().max()) <= CLOSED_LOOP
            unconditional, conditional = output.chunk(2)
            guided = (unconditional + GUIDANCE * (conditional - unconditional)).chunk(2, dim=1)[0]
            latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
            expected = recorded["latents"][step + 1]
            assert (
                float((latents - expected).abs().max())
                <= LATENTS_RELATIVE * float(expected.abs().max()) + 1e-6
            )


@torch.no_grad()
def test_every_block_of_the_first_steps(
    golden: Path, transformer: Any, inputs: dict[str, torch.Tensor]
) -> None:
    recorded = load_file(golden / "ours_fast.safetensors")
    blocks = load_file(golden / "debug_blocks_ours_fast.safetensors")["block_hidden_states"]
    outputs: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda *args: outputs.append(args[-1]))
        for block in transformer.transformer_blocks
    ]
    try:
        with ecad.applied(transformer, schedule_of(recorded)):
            for step in range(len(blocks)):
                outputs.clear()
                forward(transformer, inputs, recorded["latents"][step], inputs["timesteps"][step])
                assert float((torch.stack(outputs) - blocks[step]).abs().max()) <= TEACHER_FORCED
    finally:
        for handle in handles:
            handle.remove()
