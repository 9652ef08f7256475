"""Before the search: check that the folder may be used, load the model and prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from ecad.devices import use_threads
from ecad.execution import ExecutionSettings
from ecad.measuring.environment import environment
from ecad.measuring.latency_table import TimeTable
from ecad.prompts import PromptSet, check_disjoint, load_prompts
from ecad.sampling.recording import CALIBRATION_PROMPTS
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import Calibration, Schedule, ScheduleShape
from ecad.scoring import Scorer, make_quality
from ecad.search.calibration import CALIBRATION_FILE, known_calibration, measured_calibration
from ecad.search.claim import check_folder
from ecad.search.evaluator import ModelEvaluator
from ecad.search.latency import latency_table
from ecad.search.settings import ResolvedSearchSettings
from ecad.search.start import keep_start, start_schedules
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
    start: tuple[Schedule, ...] = ()  # schedules that the first generation is to have

    @property
    def shape(self) -> ScheduleShape:
        return self.subject.shape


def prepare(
    folder: RunFolder,
    settings: ResolvedSearchSettings,
    extend: bool,
    execution: ExecutionSettings | None = None,
) -> PreparedRun:
    """Load the model and the prompts and claim the folder.

    Everything that can be wrong with the settings is found before the folder is changed. The run's number of
    threads is set in torch.
    """
    execution = execution or ExecutionSettings()
    search_prompts, selection_prompts, heldout_prompts = _load_prompt_sets(settings)
    content = check_folder(
        folder, settings, search_prompts, selection_prompts, heldout_prompts, extend, execution
    )
    if "threads" in content["numerics"]:
        use_threads(content["numerics"]["threads"])
    scorer = make_quality(settings.quality, settings.device)
    subject = prepare_subject(settings.choice, settings.overrides)
    generation = subject.settings
    for prompts in (search_prompts, selection_prompts, heldout_prompts):
        if prompts is not None:
            scorer.check(prompts.prompts, generation.height, generation.width)
    calibration = known_calibration(folder, settings, subject)
    start = start_schedules(folder, settings, subject.shape)
    folder.write_config(content)
    keep_start(folder, start)
    folder.write_json("environment.json", environment_of(subject))
    table = latency_table(folder, settings, subject, search_prompts)

    def evaluator_on(prompts: PromptSet, first_seed: int) -> ModelEvaluator:
        return make_evaluator(settings, subject, scorer, prompts, first_seed, table)

    evaluator = evaluator_on(search_prompts, 0)
    # Seeds go on where those of the search end, as if all prompts had been searched on.
    selection_evaluators: list[ModelEvaluator] = []
    for prompts in _rounds(selection_prompts):
        first_seed = sum(each.images_per_evaluation for each in (evaluator, *selection_evaluators))
        selection_evaluators.append(evaluator_on(prompts, first_seed))
    # All prompts are encoded now, so that everything else has the text encoders' memory for images.
    for texts in (heldout_prompts.prompts, search_prompts.prompts[:CALIBRATION_PROMPTS]):
        subject.sampler.encode(texts, settings.batch_size)
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
        tuple(start),
    )


def make_evaluator(
    settings: ResolvedSearchSettings,
    subject: Subject,
    scorer: Scorer,
    prompts: PromptSet,
    first_seed: int,
    table: TimeTable | None = None,
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

    def __call__(self) -> ModelEvaluator:
        use_threads(self.threads)
        scorer = make_quality(self.settings.quality, self.device)
        choice = replace(self.settings.choice, device=self.device)
        subject = prepare_subject(choice, self.settings.overrides)
        evaluator = make_evaluator(self.settings, subject, scorer, self.prompts, self.first_seed)
        subject.model.free_text_encoders()
        return evaluator


def environment_of(subject: Subject) -> dict[str, Any]:
    """Versions and hardware, for people who read the results."""
    return environment(subject.model.device, subject.model.pipe.transformer.dtype)


def _rounds(selection_prompts: PromptSet | None) -> list[PromptSet]:
    """Those of each round of the selection; of few prompts there are fewer rounds."""
    if selection_prompts is None:
        return []
    number = len(selection_prompts)
    cuts = [round(number * done / sum(_ROUNDS)) for done in accumulate(_ROUNDS, initial=0)]
    return [selection_prompts.part(start, stop) for start, stop in pairwise(cuts) if stop > start]


def _load_prompt_sets(
    settings: ResolvedSearchSettings,
) -> tuple[PromptSet, PromptSet | None, PromptSet]:
    """For the search, for the selection of its front (None: no selection), and for the report."""
    searched = settings.prompts_limit
    prompts = load_prompts(settings.prompts, searched + settings.selection_limit)
    heldout_prompts = load_prompts(settings.heldout_prompts, settings.heldout_limit)
    check_disjoint(prompts, heldout_prompts)
    selection_prompts = prompts.part(searched, len(prompts)) if len(prompts) > searched else None
    return prompts.part(0, searched), selection_prompts, heldout_prompts
