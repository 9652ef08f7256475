"""The clean sample that a solver's model output predicts, and the output that would predict a given one.

Per step both are linear: sample x, output o and prediction x0 satisfy x0 = a x + b o, with a and b by the noise level
and by what the model was trained to predict. The formulas are those of the schedulers of diffusers
(`convert_model_output`, `pred_original_sample`):

- x = alpha x0 + sigma noise. "epsilon": x0 = (x - sigma o) / alpha; "v_prediction": x0 = alpha x - sigma o
  (arXiv 2202.00512, appendix D); "flow_prediction", with alpha = 1 - sigma: x0 = x - sigma o.
- Euler schedulers have x = x0 + sigma noise, and scale what the model is given: "epsilon": x0 = x - sigma o;
  "v_prediction": x0 = x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) o.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ecad.errors import ScheduleError
from ecad.schedule.shape import HOLDS_DENOISED, HOLDS_OUTPUT

# An old output of these is one larger step by the solver's own formula: they hold the clean sample as it is.
_FIRST_ORDER = frozenset({"DDIMScheduler", "CogVideoXDDIMScheduler", "EulerDiscreteScheduler"})
_BY_TIMESTEP = frozenset({"DDIMScheduler", "CogVideoXDDIMScheduler", "DDPMScheduler"})
_STRAIGHT = frozenset({"FlowMatchEulerDiscreteScheduler"})

_Coefficients = tuple[Any, Any]
_Rule = Callable[[Any, int, Any], _Coefficients]


def what_to_hold(scheduler: Any) -> str:
    """What schedules for this scheduler should hold where the whole output is reused, see `ecad.schedule.Schedule`.

    The clean sample if it is known how to; the output where that is the same.
    """
    if type(scheduler).__name__ in _STRAIGHT or _coefficients_of(scheduler) is None:
        return HOLDS_OUTPUT
    kind = scheduler.config.prediction_type
    if kind == "sample" or (type(scheduler).__name__ in _FIRST_ORDER and kind == "epsilon"):
        return HOLDS_OUTPUT
    return HOLDS_DENOISED


def needs_conversion(scheduler: Any) -> bool:
    """Whether holding the clean sample differs from holding the output; ScheduleError if it is not known how to."""
    return type(scheduler).__name__ not in _STRAIGHT and _known(scheduler) is not None


def denoised_of(
    scheduler: Any, index: int, timestep: Any, sample: torch.Tensor, output: torch.Tensor
) -> torch.Tensor:
    """The clean sample predicted at the scheduler's step number `index`: shape of the sample, at least float32."""
    of_sample, of_output = _coefficients(scheduler, index, timestep)
    return _wide(sample) * of_sample + _wide(output) * of_output


def output_for(
    scheduler: Any, index: int, timestep: Any, sample: torch.Tensor, denoised: torch.Tensor
) -> torch.Tensor:
    """The model output by which the scheduler predicts `denoised` there; inverse of `denoised_of`."""
    of_sample, of_output = _coefficients(scheduler, index, timestep)
    return (denoised - _wide(sample) * of_sample) / of_output


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _coefficients(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    return _known(scheduler)(scheduler, index, timestep)


def _known(scheduler: Any) -> _Rule:
    found = _coefficients_of(scheduler)
    if found is None:
        kind = getattr(getattr(scheduler, "config", None), "prediction_type", None)
        raise ScheduleError(
            f"the schedule holds the clean sample predicted last (holds: {HOLDS_DENOISED}), and what that is is not "
            f"known for {type(scheduler).__name__} with prediction_type {kind!r}: use a scheduler such as "
            "DPMSolverMultistepScheduler, or search a schedule for this one"
        )
    return found


def _coefficients_of(scheduler: Any) -> _Rule | None:
    """By which a and b come, for this kind of scheduler; None for one that is not known."""
    kind = getattr(getattr(scheduler, "config", None), "prediction_type", None)
    if hasattr(scheduler, "precondition_outputs"):  # EDM, whose model predicts something else again
        return None
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # the DPM-Solvers, UniPC, DEIS, SA-Solver
        return _of_solver if kind in ("epsilon", "v_prediction", "flow_prediction", "sample") else None
    name = type(scheduler).__name__
    if name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        return _of_euler if kind in ("epsilon", "v_prediction") else None
    if name in _BY_TIMESTEP:
        return _of_timestep if kind in ("epsilon", "v_prediction", "sample") else None
    return None


def _of_solver(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    sigma = scheduler.sigmas[index]
    alpha, noise_share = scheduler._sigma_to_alpha_sigma_t(sigma)
    return _by_prediction(scheduler.config.prediction_type, alpha, noise_share, sigma)


def _of_timestep(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    kept = scheduler.alphas_cumprod[int(timestep)]
    return _by_prediction(scheduler.config.prediction_type, kept**0.5, (1 - kept) ** 0.5, None)


def _of_euler(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    sigma = scheduler.sigmas[index]
    if scheduler.config.prediction_type == "epsilon":
        return 1.0, -sigma
    return 1 / (sigma**2 + 1), -sigma / (sigma**2 + 1) ** 0.5


def _by_prediction(kind: str, alpha: Any, sigma: Any, flow_sigma: Any) -> _Coefficients:
    """For x = alpha x0 + sigma noise."""
    if kind == "epsilon":
        return 1 / alpha, -sigma / alpha
    if kind == "v_prediction":
        return alpha, -sigma
    if kind == "flow_prediction":
        return 1.0, -flow_sigma
    return 0.0, 1.0  # "sample"
