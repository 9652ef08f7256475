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

import inspect
from collections.abc import Callable
from typing import Any

import torch

from ecad.errors import ScheduleError
from ecad.schedule.shape import HOLDS_DENOISED, HOLDS_OUTPUT

_Coefficients = tuple[Any, Any]
_Rule = Callable[[Any, int, Any], _Coefficients]

_COPIES: dict[str, bool] = {}  # by the name of a class of pipelines; reading its source takes a while


def what_to_hold(pipeline: Any) -> str:
    """What schedules for this pipeline should hold where the whole output is reused, see `ecad.schedule.Schedule`.

    The clean sample if it is known how to; the output where that is the same.
    """
    scheduler = pipeline.scheduler
    if _copies_its_scheduler(pipeline) or _coefficients_of(scheduler) is None or _is_the_same(scheduler):
        return HOLDS_OUTPUT
    return HOLDS_DENOISED


def needs_conversion(pipeline: Any) -> bool:
    """Whether holding the clean sample differs from holding the output; ScheduleError if it is not known how to."""
    scheduler = pipeline.scheduler
    if _is_straight(scheduler):
        return False
    _known(scheduler)
    if _copies_its_scheduler(pipeline):
        raise ScheduleError(
            f"the schedule holds the clean sample predicted last (holds: {HOLDS_DENOISED}), and "
            f"{type(pipeline).__name__} makes several samples with copies of its scheduler: use a schedule that holds "
            "the output"
        )
    return True


def _is_straight(scheduler: Any) -> bool:
    """Whether an old velocity is one larger step: flow matching by Euler's method, without fresh noise."""
    name = type(scheduler).__name__
    return name == "FlowMatchEulerDiscreteScheduler" and not scheduler.config.get(
        "stochastic_sampling", False
    )


def _is_the_same(scheduler: Any) -> bool:
    """Whether an old output is the same as the old clean sample, by the scheduler's formula."""
    config, name = scheduler.config, type(scheduler).__name__
    kind = getattr(config, "prediction_type", None)
    if _is_straight(scheduler) or kind == "sample":
        return True
    if name in ("DDIMScheduler", "CogVideoXDDIMScheduler"):
        # Clipped samples do not fit the noise; with "linspace" the next timestep is not the one that was stepped to.
        is_plain = not config.clip_sample and not config.get("thresholding", False)
        return kind == "epsilon" and is_plain and config.timestep_spacing != "linspace"
    return name == "EulerDiscreteScheduler" and kind == "epsilon"


def _copies_its_scheduler(pipeline: Any) -> bool:
    """Whether a call steps on copies, too (for sound beside a video): those we would not see."""
    kind = type(pipeline)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name not in _COPIES:
        try:
            _COPIES[name] = "deepcopy(self.scheduler" in inspect.getsource(kind)
        except (OSError, TypeError):  # no source: of a class that was made in an interpreter
            return False
    return _COPIES[name]


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
    config, name = getattr(scheduler, "config", None), type(scheduler).__name__
    kind = getattr(config, "prediction_type", None)
    if name == "FlowMatchEulerDiscreteScheduler":
        return _of_flow
    if hasattr(scheduler, "precondition_outputs"):  # EDM, whose model predicts something else again
        return None
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # the DPM-Solvers, UniPC, DEIS, SA-Solver
        return _of_solver if kind in ("epsilon", "v_prediction", "flow_prediction", "sample") else None
    if name in ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        return _of_euler if kind in ("epsilon", "v_prediction") else None
    learns_variance = getattr(config, "variance_type", None) in ("learned", "learned_range")
    if name in ("DDIMScheduler", "CogVideoXDDIMScheduler", "DDPMScheduler") and not learns_variance:
        return _of_timestep if kind in ("epsilon", "v_prediction", "sample") else None
    return None


def _of_solver(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    sigma = scheduler.sigmas[index]
    alpha, noise_share = scheduler._sigma_to_alpha_sigma_t(sigma)
    return _by_prediction(scheduler.config.prediction_type, alpha, noise_share, sigma)


def _of_timestep(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    kept = scheduler.alphas_cumprod[int(timestep)]
    return _by_prediction(scheduler.config.prediction_type, kept**0.5, (1 - kept) ** 0.5, None)


def _of_flow(scheduler: Any, index: int, timestep: Any) -> _Coefficients:
    return 1.0, -scheduler.sigmas[index]


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
