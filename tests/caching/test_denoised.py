"""The clean sample that an output predicts is what the schedulers of diffusers make of it themselves."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from ecad.caching.denoised import denoised_of, needs_conversion, output_for, what_to_hold
from ecad.errors import ScheduleError
from ecad.schedule import HOLDS_DENOISED, HOLDS_OUTPUT

STEPS = 8
BY_SOLVER = [
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    ("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++"}),
    ("UniPCMultistepScheduler", {"predict_x0": True}),
    ("SASolverScheduler", {"algorithm_type": "data_prediction"}),
]
BY_STEP = [
    ("EulerDiscreteScheduler", {}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("DDIMScheduler", {"clip_sample": False}),
    ("DDPMScheduler", {"clip_sample": False}),
    ("CogVideoXDDIMScheduler", {"clip_sample": False}),
]


def started(name: str, prediction: str, **settings: Any) -> Any:
    if prediction == "flow_prediction":
        settings["use_flow_sigmas"] = True
    scheduler = getattr(diffusers, name)(prediction_type=prediction, **settings)
    scheduler.set_timesteps(STEPS)
    return scheduler


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)


def check(
    scheduler: Any, index: int, expected: torch.Tensor, sample: torch.Tensor, output: torch.Tensor
) -> None:
    timestep = scheduler.timesteps[index]
    found = denoised_of(scheduler, index, timestep, sample, output)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    back = output_for(scheduler, index, timestep, sample, found)
    again = denoised_of(scheduler, index, timestep, sample, back)
    torch.testing.assert_close(again, found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow_prediction"])
@pytest.mark.parametrize(("name", "settings"), BY_SOLVER)
def test_solvers(name: str, settings: dict[str, Any], prediction: str) -> None:
    scheduler = started(name, prediction, **settings)
    sample, output = tensors()
    for index in (0, 3, STEPS - 1):
        scheduler._step_index = index
        expected = scheduler.convert_model_output(output, sample=sample)
        check(scheduler, index, expected, sample, output)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "settings"), BY_STEP)
def test_schedulers_that_say_it(name: str, settings: dict[str, Any], prediction: str) -> None:
    scheduler = started(name, prediction, **settings)
    sample, output = tensors()
    for index in range(STEPS):
        made = scheduler.step(output, scheduler.timesteps[index], sample)
        check(scheduler, index, made.pred_original_sample, sample, output)


def test_half_precision_is_widened() -> None:
    scheduler = started("DPMSolverMultistepScheduler", "epsilon")
    sample, output = (tensor.half() for tensor in tensors())
    assert denoised_of(scheduler, 2, scheduler.timesteps[2], sample, output).dtype == torch.float32
    assert denoised_of(scheduler, 2, None, sample.double(), output).dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "prediction", "expected"),
    [
        ("DPMSolverMultistepScheduler", "epsilon", HOLDS_DENOISED),
        ("DPMSolverMultistepScheduler", "sample", HOLDS_OUTPUT),  # the output is the clean sample
        ("UniPCMultistepScheduler", "flow_prediction", HOLDS_DENOISED),
        ("EulerDiscreteScheduler", "epsilon", HOLDS_OUTPUT),  # the same by its formula
        ("EulerDiscreteScheduler", "v_prediction", HOLDS_DENOISED),
        (
            "EulerAncestralDiscreteScheduler",
            "epsilon",
            HOLDS_DENOISED,
        ),  # the noise that it adds is not predicted
        ("DDIMScheduler", "epsilon", HOLDS_OUTPUT),
        ("DDPMScheduler", "epsilon", HOLDS_DENOISED),
        ("HeunDiscreteScheduler", "v_prediction", HOLDS_OUTPUT),  # not known how to
        ("EDMDPMSolverMultistepScheduler", "epsilon", HOLDS_OUTPUT),
        ("FlowMatchEulerDiscreteScheduler", None, HOLDS_OUTPUT),
    ],
)
def test_what_to_hold(name: str, prediction: str | None, expected: str) -> None:
    settings = {} if prediction is None else {"prediction_type": prediction}
    scheduler = getattr(diffusers, name)(**settings)
    assert what_to_hold(scheduler) == expected
    if expected == HOLDS_DENOISED:
        assert needs_conversion(scheduler)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(
        ScheduleError, match="not known for HeunDiscreteScheduler with prediction_type 'epsilon'"
    ):
        needs_conversion(diffusers.HeunDiscreteScheduler())
    assert not needs_conversion(
        diffusers.FlowMatchEulerDiscreteScheduler()
    )  # an old velocity is one larger step
