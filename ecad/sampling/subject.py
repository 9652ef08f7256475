"""The model under study, prepared once: for a search, an evaluation, an image, and each of a search's workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ecad.caching.denoised import needs_conversion, what_to_hold
from ecad.devices import choose_device
from ecad.errors import ConfigError
from ecad.families import ModelSource, find_model
from ecad.families.family import CountedWorkload, Workload
from ecad.families.workload import workload_for
from ecad.sampling.any_pipeline import frames_argument
from ecad.sampling.base import Job, Sampler
from ecad.sampling.counting import counted_workload
from ecad.sampling.generation import GenerationSettings, ModelChoice, Overrides, settings_for
from ecad.sampling.loading import LoadedModel, dtype_of, load_model
from ecad.sampling.samplers import make_sampler
from ecad.sampling.take_over import take_over_in
from ecad.schedule.calibration import Calibration
from ecad.schedule.schedule import Schedule
from ecad.schedule.shape import HOLDS_DENOISED, ScheduleShape


@dataclass(frozen=True)
class Subject:
    """A loaded model with the settings that images are made with."""

    model: LoadedModel
    sampler: Sampler

    @property
    def source(self) -> ModelSource:
        return self.model.source

    @property
    def settings(self) -> GenerationSettings:
        return self.sampler.settings

    @cached_property
    def workload(self) -> Workload | CountedWorkload:
        """What one step of an image costs. Where torch must count it, the first use makes a step."""
        return _workload(self.model, self.sampler)

    @property
    def makes_videos(self) -> bool:
        return frames_argument(self.model.pipe) is not None

    @property
    def shape(self) -> ScheduleShape:
        """What a schedule must cover here."""
        holds = what_to_hold(self.model.pipe)
        return ScheduleShape(self.model.family.name, self.settings.steps, self.source.block_counts(), holds)

    def origin_note(self, calibration: Calibration) -> str | None:
        """One line that names what a calibration was made with otherwise than the images here; None where nothing."""
        return calibration.origin_note(self.source.name, vars(self.settings), self.model.pipe.scheduler)

    def check_what_is_held(self, schedule: Schedule) -> None:
        """ScheduleError if it holds the clean sample, and this pipeline's scheduler does not know that."""
        if schedule.reuses_output and schedule.holds == HOLDS_DENOISED:
            needs_conversion(self.model.pipe)


def prepare_subject(choice: ModelChoice, overrides: Overrides | None = None) -> Subject:
    """Load the model and everything that depends on it alone. ModelError or ConfigError for what does not fit."""
    model = load_model(
        choice.model,
        choice.device,
        choice.dtype,
        device_map=choice.device_map,
        embedding_cache=choice.embedding_cache,
    )
    sampler = make_sampler(model, _fitting(model, settings_for(model.source, overrides), overrides))
    subject = Subject(model, sampler)
    if model.family.formulas is not None:
        _ = subject.workload  # a size that cannot be is found here
    return subject


def numerics_of(choice: ModelChoice) -> dict[str, str]:
    """Kind of device and dtype, which decide the last bits of all results; found without loading the model."""
    device = choose_device(choice.device)
    return {"device": device.type, "dtype": str(dtype_of(find_model(choice.model), choice.dtype, device))}


def _fitting(
    model: LoadedModel, settings: GenerationSettings, overrides: Overrides | None
) -> GenerationSettings:
    """Without what a preset like this model has for its second transformer, if there is only one here."""
    if take_over_in(model.pipe) is not None:
        return settings
    if overrides is not None and overrides.guidance_scale_2 is not None:
        raise ConfigError(
            f"guidance_scale_2 is that of a second transformer, and {model.source.name} has none that takes over: "
            "leave it out"
        )
    return replace(settings, guidance_scale_2=None)


def _workload(model: LoadedModel, sampler: Sampler) -> Workload | CountedWorkload:
    """By the family's formulas, or where it has none counted by torch in one step of an image."""
    settings = sampler.settings
    if model.family.formulas is None:
        conditioning = sampler.encode([""], 1)
        counted = counted_workload(
            model.pipe, model.family, lambda: sampler.sample(conditioning, [Job(0, 0)])
        )
        return replace(counted, take_over=take_over_in(model.pipe))
    workload = workload_for(
        model.source,
        height=settings.height,
        width=settings.width,
        has_guidance_rows=sampler.has_guidance_rows,
        text_tokens=settings.max_sequence_length,
        num_frames=settings.num_frames,
    )
    return replace(workload, take_over=take_over_in(model.pipe))
