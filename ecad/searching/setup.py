"""Before the search: check that the folder may be used, load the model and prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from ecad.devices import free_memory_bytes, use_threads
from ecad.errors import ConfigError
from ecad.execution import ExecutionSettings
from ecad.families import Family
from ecad.families.registry import adopt, is_shipped
from ecad.families.spec_file import FAMILY_FILE, dump_family, parse_family
from ecad.measuring.environment import environment
from ecad.measuring.latency_table import TimeTable
from ecad.measuring.stored_memory import stored_memory_note
from ecad.prompts import PromptSet, check_disjoint, load_prompts
from ecad.sampling.recording import CALIBRATION_PROMPTS
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import Calibration, Schedule, ScheduleShape
from ecad.scoring import Scorer, make_quality
from ecad.scoring.videos import for_videos
from ecad.searching.calibration import CALIBRATION_FILE, known_calibration, measured_calibration
from ecad.searching.claim import check_folder
from ecad.searching.evaluator import ModelEvaluator
from ecad.searching.heldout import parts, report_batch_size
from ecad.searching.latency import latency_table
from ecad.searching.settings import ResolvedSearchSettings
from ecad.searching.start import keep_start, start_schedules
from ecad.storage import RunFolder

# How the selection's prompts are shared out: few that many schedules meet, then many that few meet.
_ROUNDS = (1, 2, 4)


@dataclass(frozen=True)
class PreparedRun:
    """Everything a search works with."""

    settings: ResolvedSearchSettings
    subject: Subject
    scorer: Scorer
    search_prompts: PromptSet
    heldout_prompts: PromptSet
    evaluator: ModelEvaluator
    latency_table: TimeTable | None
    calibration: Calibration
    selection_prompts: PromptSet | None = None
    selection_evaluators: tuple[ModelEvaluator, ...] = ()  # one per round
    refinement_evaluator: ModelEvaluator | None = None  # on all prompts before the selection's last round
    start: tuple[Schedule, ...] = ()  # schedules that the first generation is to have
    free_bytes: int | None = None  # for stored outputs, in each process; None where nobody says

    @property
    def shape(self) -> ScheduleShape:
        return self.subject.shape

    @property
    def report_batch_size(self) -> int:
        """Images at a time in the report."""
        return report_batch_size(
            self.settings, self.subject.model.device.type, self.latency_table is not None
        )


def prepare(
    folder: RunFolder,
    settings: ResolvedSearchSettings,
    extend: bool,
    execution: ExecutionSettings | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> PreparedRun:
    """Load the model and the prompts and claim the folder.

    Everything that can be wrong with the settings is found before the folder is changed. The run's number of
    threads is set in torch. `announce` is told, in a line, what stored outputs take of the device's memory.
    """
    execution = execution or ExecutionSettings()
    prompts, heldout_prompts = _load_prompt_sets(settings)
    search_prompts, selection_prompts = _parts(prompts, settings)
    content = check_folder(
        folder, settings, search_prompts, selection_prompts, heldout_prompts, extend, execution
    )
    if "threads" in content["numerics"]:
        use_threads(content["numerics"]["threads"])
    scorer = make_quality(settings.quality, settings.device)
    subject = prepare_subject(settings.choice, settings.overrides)
    if subject.makes_videos:
        scorer = for_videos(scorer)
    generation = subject.settings
    for each in (search_prompts, selection_prompts, heldout_prompts):
        if each is not None:
            scorer.check(each.prompts, generation.height, generation.width)
    calibration = known_calibration(folder, settings, subject)
    start = start_schedules(folder, settings, subject.shape, announce)
    free_bytes = free_memory_bytes(subject.model.device, execution.local_processes)
    announce(_stored_memory(settings, subject, free_bytes))
    if settings.selection_limit == 0:
        announce(
            "what looks best on the search's own prompts was partly lucky: --selection-limit has others decide"
        )
    folder.write_config(content)
    described = family_text(subject.model.family)
    if described is not None:
        folder.write_text(FAMILY_FILE, described)
    keep_start(folder, start)
    folder.write_json("environment.json", environment_of(subject))
    table = latency_table(folder, settings, subject, search_prompts)

    def evaluator_on(texts: PromptSet, first_seed: int) -> ModelEvaluator:
        return make_evaluator(settings, subject, scorer, texts, first_seed, table, free_bytes)

    evaluator = evaluator_on(search_prompts, 0)
    # Seeds go on where those of the search end, as if all prompts had been searched on.
    selection_evaluators: list[ModelEvaluator] = []
    for part in _rounds(selection_prompts):
        first_seed = sum(each.images_per_evaluation for each in (evaluator, *selection_evaluators))
        selection_evaluators.append(evaluator_on(part, first_seed))
    # One on all prompts instead of several one after another: workers that start take seconds.
    refinement_evaluator = None
    if len(selection_evaluators) > 1:
        before_last = sum(len(each.prompts) for each in (evaluator, *selection_evaluators[:-1]))
        refinement_evaluator = evaluator_on(prompts.part(0, before_last), 0)
    # All prompts are encoded now, so that everything else has the text encoders' memory for images.
    subject.sampler.encode(search_prompts.prompts[:CALIBRATION_PROMPTS], settings.batch_size)
    in_report = report_batch_size(settings, subject.model.device.type, table is not None)
    subject.sampler.encode(heldout_prompts.prompts, in_report)
    if execution.uses_ray:
        for texts in parts(heldout_prompts, in_report, settings.heldout_seeds_per_prompt):
            subject.sampler.encode(texts.prompts, in_report)
    subject.model.free_text_encoders()
    if calibration is None:
        calibration = measured_calibration(settings, subject, search_prompts)
    calibration.save(folder.path / CALIBRATION_FILE)
    return PreparedRun(
        settings,
        subject,
        scorer,
        search_prompts,
        heldout_prompts,
        evaluator,
        table,
        calibration,
        selection_prompts,
        tuple(selection_evaluators),
        refinement_evaluator,
        tuple(start),
        free_bytes,
    )


def make_evaluator(
    settings: ResolvedSearchSettings,
    subject: Subject,
    scorer: Scorer,
    prompts: PromptSet,
    first_seed: int,
    table: TimeTable | None = None,
    free_bytes: int | None = None,
) -> ModelEvaluator:
    """An evaluator under the run's settings."""
    return ModelEvaluator(
        subject.sampler,
        scorer,
        prompts,
        subject.workload,
        seeds_per_prompt=settings.seeds_per_prompt,
        first_seed=first_seed,
        batch_size=settings.batch_size,
        latency_table=table,
        cost=settings.cost if table is not None else "macs",
        summed_runs=settings.summed_runs,
        free_bytes=free_bytes,
    )


@dataclass(frozen=True)
class EvaluatorFactory:
    """Makes, in another process, the evaluator that scores as the driver's own would; can be pickled.

    The model is loaded there, from the same name or path; the prompts come along. Costs are the driver's to
    state, so no latency table is needed.
    """

    settings: ResolvedSearchSettings
    prompts: PromptSet
    first_seed: int
    device: str
    threads: int
    # The file of a family that did not ship with ecad: another process must be told.
    family: str | None = None
    free_bytes: int | None = None

    def __call__(self) -> ModelEvaluator:
        subject, scorer = subject_elsewhere(self.settings, self.device, self.threads, self.family)
        evaluator = make_evaluator(
            self.settings, subject, scorer, self.prompts, self.first_seed, free_bytes=self.free_bytes
        )
        subject.model.free_text_encoders()
        return evaluator


def subject_elsewhere(
    settings: ResolvedSearchSettings, device: str, threads: int, family: str | None
) -> tuple[Subject, Scorer]:
    """A run's model and scorer, in another process than the driver's."""
    if family is not None:
        adopt(parse_family(family, "the run's family"))
    use_threads(threads)
    scorer = make_quality(settings.quality, device)
    subject = prepare_subject(replace(settings.choice, device=device), settings.overrides)
    return subject, for_videos(scorer) if subject.makes_videos else scorer


def family_text(family: Family) -> str | None:
    """The file of a family that did not ship with ecad."""
    return None if is_shipped(family) else dump_family(family)


def environment_of(subject: Subject) -> dict[str, Any]:
    """Versions and hardware, for people who read the results."""
    return environment(subject.model.device, subject.model.pipe.transformer.dtype)


def _stored_memory(settings: ResolvedSearchSettings, subject: Subject, free_bytes: int | None) -> str:
    """ConfigError if they cannot fit."""
    if settings.summed_runs and not subject.model.family.sums_up:
        raise ConfigError(
            f"the blocks of family {subject.model.family.name!r} cannot be summed up (ecad families says whose can): "
            "leave out --summed-runs"
        )
    return stored_memory_note(
        subject.workload,
        subject.model.pipe.transformer.dtype.itemsize,
        settings.batch_size,
        subject.settings.steps,
        free_bytes,
        settings.summed_runs,
        only_whole_steps=settings.granularity == "steps",
    )


def _rounds(selection_prompts: PromptSet | None) -> list[PromptSet]:
    """Those of each round of the selection; of few prompts there are fewer rounds."""
    if selection_prompts is None:
        return []
    number = len(selection_prompts)
    cuts = [round(number * done / sum(_ROUNDS)) for done in accumulate(_ROUNDS, initial=0)]
    return [selection_prompts.part(start, stop) for start, stop in pairwise(cuts) if stop > start]


def _load_prompt_sets(settings: ResolvedSearchSettings) -> tuple[PromptSet, PromptSet]:
    """For the search and the selection of its front, and for the report."""
    prompts = load_prompts(
        settings.prompts,
        settings.prompts_limit + settings.selection_limit,
        format_name=settings.prompts_format,
    )
    heldout_prompts = load_prompts(
        settings.heldout_prompts, settings.heldout_limit, format_name=settings.heldout_prompts_format
    )
    check_disjoint(prompts, heldout_prompts)
    return prompts, heldout_prompts


def _parts(prompts: PromptSet, settings: ResolvedSearchSettings) -> tuple[PromptSet, PromptSet | None]:
    """Those of the search, and those of the selection (None: no selection)."""
    searched = settings.prompts_limit
    selection_prompts = prompts.part(searched, len(prompts)) if len(prompts) > searched else None
    return prompts.part(0, searched), selection_prompts
