"""What `ecad evaluate` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from ecad.errors import ConfigError
from ecad.families import find_model
from ecad.sampling.generation import HELDOUT_FIRST_SEED, ModelChoice, Overrides
from ecad.schedule import Schedule

_DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True)
class EvaluateSettings:
    """What `ecad evaluate` is asked for. None means the model's own recommendation.

    `schedules` (from Python also themselves) and `baselines` are as the user types them. `seeds` counts images per
    prompt; the first has the seed `first_seed`, far from those of a search. `reference` is for metrics of a whole set:
    a folder of images or an .npz file. `calibration` is a file of `ecad calibrate`, for smooth:ALPHA. `samples` is the
    number of prompts in the sample grid.
    """

    model: str
    schedules: tuple[str | Schedule, ...] = ()
    baselines: tuple[str, ...] = ()
    prompts: str | None = None
    prompts_format: str | None = None
    prompts_limit: int | None = None
    category: str | None = None
    metrics: tuple[str, ...] | None = None
    reference: str | None = None
    seeds: int = 1
    first_seed: int = HELDOUT_FIRST_SEED
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    height: int | None = None
    width: int | None = None
    num_frames: int | None = None
    batch_size: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    samples: int = 6
    calibration: str | None = None
    guidance_scale_2: float | None = None

    def resolved(self) -> ResolvedEvaluateSettings:
        """With the model's recommendations in place of None, as far as they are known without loading it."""
        preset = find_model(self.model).preset
        recommended = {} if preset is None else dict(preset.search)
        metrics = self.metrics
        if metrics is None and "quality" in recommended:
            metrics = (recommended["quality"],)
        prompts = self.prompts or recommended.get("heldout_prompts")
        missing = [name for name, value in (("--metrics", metrics), ("--prompts", prompts)) if not value]
        if missing:
            options = ", ".join(missing)
            raise ConfigError(f"model {self.model!r} has no default for {options}: give {options}")
        for name, value, low in (
            ("seeds", self.seeds, 1),
            ("first seed", self.first_seed, 0),
            ("batch size", self.batch_size, 1),
            ("steps", self.steps, 1),
            ("samples", self.samples, 0),
            ("frames", self.num_frames, 1),
        ):
            if value is not None and value < low:
                raise ConfigError(f"the number of {name} must be at least {low}, not {value}")
        if self.guidance_scale is not None and not self.guidance_scale >= 0.0:
            raise ConfigError(f"the guidance scale must be a number from 0 up, not {self.guidance_scale}")
        if self.guidance_scale_2 is not None and not self.guidance_scale_2 >= 0.0:
            raise ConfigError(
                f"the second guidance scale must be a number from 0 up, not {self.guidance_scale_2}"
            )
        if self.true_cfg_scale is not None and not self.true_cfg_scale >= 1.0:
            raise ConfigError(f"the true CFG scale must be a number from 1 up, not {self.true_cfg_scale}")
        batch_size = self.batch_size or recommended.get("batch_size", _DEFAULT_BATCH_SIZE)
        values = {**vars(self), "metrics": metrics, "prompts": prompts, "batch_size": batch_size}
        return ResolvedEvaluateSettings(**values)

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(self.model, self.device, self.dtype)

    @property
    def overrides(self) -> Overrides:
        return Overrides(
            self.steps,
            self.guidance_scale,
            self.true_cfg_scale,
            self.height,
            self.width,
            self.num_frames,
            self.guidance_scale_2,
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedEvaluateSettings(EvaluateSettings):
    """The same with nothing left open but what the loaded model or the schedules decide (sizes, steps, guidance)."""

    metrics: tuple[str, ...] = field()
    prompts: str = field()
    batch_size: int = field()

    def resolved(self) -> ResolvedEvaluateSettings:
        return self
