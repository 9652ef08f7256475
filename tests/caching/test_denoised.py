"""The clean sample that an output predicts is what the schedulers of diffusers make of it themselves."""

from __future__ import annotations

import copy
from types import SimpleNamespace
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
BY_NOISE = [
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("DEISMultistepScheduler", {}),
    ("UniPCMultistepScheduler", {"predict_x0": False}),
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


def pipeline_with(scheduler: Any) -> Any:
    return SimpleNamespace(scheduler=scheduler)


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
@pytest.mark.parametrize(("name", "settings"), BY_NOISE)
def test_solvers_of_noise(name: str, settings: dict[str, Any], prediction: str) -> None:
    """They say which noise they take an output for; with it the clean sample makes up the sample."""
    scheduler = started(name, prediction, **settings)
    sample, output = tensors()
    for index in (0, 3, STEPS - 1):
        scheduler._step_index = index
        alpha, sigma = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[index])
        noise = scheduler.convert_model_output(output, sample=sample)
        check(scheduler, index, (sample - sigma * noise) / alpha, sample, output)


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
        ("DDIMScheduler", "v_prediction", HOLDS_DENOISED),
        ("DDPMScheduler", "epsilon", HOLDS_DENOISED),
        ("HeunDiscreteScheduler", "v_prediction", HOLDS_OUTPUT),  # not known how to
        ("EDMDPMSolverMultistepScheduler", "epsilon", HOLDS_OUTPUT),
        ("FlowMatchEulerDiscreteScheduler", None, HOLDS_OUTPUT),
    ],
)
def test_what_to_hold(name: str, prediction: str | None, expected: str) -> None:
    settings = {} if prediction is None else {"prediction_type": prediction}
    pipeline = pipeline_with(getattr(diffusers, name)(**settings))
    assert what_to_hold(pipeline) == expected
    if expected == HOLDS_DENOISED:
        assert needs_conversion(pipeline)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_sample": False}, HOLDS_OUTPUT),
        ({"clip_sample": True}, HOLDS_DENOISED),  # a clipped sample does not fit the noise any more
        ({"clip_sample": False, "thresholding": True}, HOLDS_DENOISED),
        ({"clip_sample": False, "timestep_spacing": "trailing"}, HOLDS_OUTPUT),
        (
            {"clip_sample": False, "timestep_spacing": "linspace"},
            HOLDS_DENOISED,
        ),  # the next timestep is another
    ],
)
def test_an_old_noise_is_one_larger_step_of_plain_ddim(settings: dict[str, Any], expected: str) -> None:
    assert what_to_hold(pipeline_with(diffusers.DDIMScheduler(**settings))) == expected


def test_flow_matching_with_fresh_noise() -> None:
    """Its step forms the clean sample and adds noise that the old velocity does not know."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    pipeline = pipeline_with(scheduler)
    assert what_to_hold(pipeline) == HOLDS_DENOISED
    assert needs_conversion(pipeline)
    scheduler.set_timesteps(STEPS)
    sample, output = tensors()
    sigma, last = scheduler.sigmas[2], scheduler.sigmas[-1]
    expected = sample - sigma * output
    check(scheduler, 2, expected, sample, output)
    assert last == 0
    scheduler._step_index = STEPS - 1  # the last step goes to the clean sample itself
    made = scheduler.step(output, scheduler.timesteps[-1], sample, return_dict=False)[0]
    check(scheduler, STEPS - 1, made, sample, output)


def test_learned_variances_are_not_known() -> None:
    pipeline = pipeline_with(diffusers.DDPMScheduler(variance_type="learned_range"))
    assert what_to_hold(pipeline) == HOLDS_OUTPUT
    with pytest.raises(ScheduleError, match="not known for DDPMScheduler"):
        needs_conversion(pipeline)


class StepsOnCopies:
    """As pipelines do that make sound beside a video."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def __call__(self) -> Any:
        return copy.deepcopy(self.scheduler)


def test_pipelines_that_copy_their_scheduler() -> None:
    pipeline = StepsOnCopies(diffusers.DPMSolverMultistepScheduler())
    assert what_to_hold(pipeline) == HOLDS_OUTPUT
    with pytest.raises(
        ScheduleError, match="StepsOnCopies makes several samples with copies of its scheduler"
    ):
        needs_conversion(pipeline)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(
        ScheduleError, match="not known for HeunDiscreteScheduler with prediction_type 'epsilon'"
    ):
        needs_conversion(pipeline_with(diffusers.HeunDiscreteScheduler()))
    assert not needs_conversion(
        pipeline_with(diffusers.FlowMatchEulerDiscreteScheduler())
    )  # an old velocity is one larger step
