"""Before `ecad evaluate` measures anything: everything is loaded, and everything that can be wrong is found."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ecad.errors import ConfigError
from ecad.evaluating.contenders import (
    Wish,
    contenders_for,
    distinct,
    need_calibration,
    read_wishes,
    schedule_steps,
)
from ecad.evaluating.settings import ResolvedEvaluateSettings
from ecad.measuring.environment import environment
from ecad.measuring.measurements import Contender
from ecad.measuring.rows import Kind
from ecad.prompts import PromptSet, load_prompts
from ecad.sampling.baseline import load_baseline
from ecad.sampling.baseline_spec import BaselineSpec, parse_baseline
from ecad.sampling.generation import GenerationSettings
from ecad.sampling.noise_levels import try_levels
from ecad.sampling.recording import CALIBRATION_PROMPTS, calibrate
from ecad.sampling.subject import Subject, prepare_subject
from ecad.schedule import Calibration, load_calibration
from ecad.scoring import Scorer, SetScorer, make_scorer, make_set_scorer, metric_names
from ecad.scoring.references import list_pictures
from ecad.scoring.videos import VideoSetScorer, for_videos
from ecad.storage import ResultsFolder

_CALIBRATION_FILE = "calibration.json"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedEvaluation:
    """Everything an evaluation works with."""

    settings: ResolvedEvaluateSettings
    subject: Subject
    scorers: tuple[Scorer, ...]
    set_scorers: tuple[SetScorer, ...]
    prompts: PromptSet
    contenders: tuple[Contender, ...]
    prompts_cut: int | None
    environment: dict[str, Any]


def prepare_evaluation(folder: ResultsFolder, settings: ResolvedEvaluateSettings) -> PreparedEvaluation:
    """Load everything and claim the folder.

    Everything that can be wrong is found before the folder is changed, and what is quick to find first.
    """
    prompts = load_prompts(
        settings.prompts, settings.prompts_limit, settings.category, settings.prompts_format
    )
    wishes = read_wishes(settings.schedules)
    specs = [parse_baseline(text) for text in settings.baselines]
    scorers, set_scorers = make_metrics(settings.metrics, settings.device)
    reference = _reference_hash(settings, set_scorers)

    overrides = settings.overrides
    if overrides.steps is None:
        overrides = replace(overrides, steps=schedule_steps(wishes))
    subject = prepare_subject(settings.choice, overrides)
    generation = subject.settings
    if subject.makes_videos:
        scorers = tuple(map(for_videos, scorers))
        set_scorers = tuple(map(VideoSetScorer, set_scorers))
    calibration = _calibration(folder, settings, subject, wishes, prompts)
    contenders = contenders_for(wishes, subject.shape, calibration)
    if any(contender.levels is not None for contender in contenders):
        try_levels(subject.sampler, prompts.prompts, settings.batch_size)
    for contender in contenders:
        if contender.schedule is not None:
            subject.check_what_is_held(contender.schedule)
    for scorer in scorers:
        scorer.check(prompts.prompts, generation.height, generation.width)
    baselines = []
    for spec in specs:
        baseline = load_baseline(spec, subject.model.device)
        name = f"{spec.name} ({baseline.steps} step{'s' if baseline.steps > 1 else ''})"
        baselines.append(Contender(name, Kind.BASELINE, baseline.steps, pipeline=baseline))
    contenders = distinct([*contenders, *baselines])

    pipe = subject.model.pipe
    surroundings = environment(subject.model.device, pipe.transformer.dtype)
    folder.claim(_identity(settings, subject, prompts, contenders, specs, reference, surroundings))
    folder.write_json("environment.json", surroundings)
    if calibration is not None:
        calibration.save(folder.path / _CALIBRATION_FILE)
    return PreparedEvaluation(
        settings=settings,
        subject=subject,
        scorers=scorers,
        set_scorers=set_scorers,
        prompts=prompts,
        contenders=tuple(contenders),
        prompts_cut=prompts_cut(pipe, prompts.prompts, generation.max_sequence_length),
        environment=surroundings,
    )


def _calibration(
    folder: ResultsFolder,
    settings: ResolvedEvaluateSettings,
    subject: Subject,
    wishes: Sequence[Wish],
    prompts_of_rows: PromptSet,
) -> Calibration | None:
    """For smooth:ALPHA: the given file, that of an earlier start, or one made now on the prompts that a search of this
    model would use. A given one that was made otherwise than the uncached row is taken, with a warning in the log."""
    if settings.calibration is not None:
        given = load_calibration(Path(settings.calibration).expanduser())
        note = subject.origin_note(given)
        if note is not None:
            _LOGGER.warning("--calibration %s: %s", settings.calibration, note)
        return given
    if not need_calibration(wishes):
        return None
    if (folder.path / _CALIBRATION_FILE).is_file():
        return load_calibration(folder.path / _CALIBRATION_FILE)
    template = subject.source.template
    prompts = None if template is None else template.search.get("prompts")
    if prompts is None:
        # Not on the prompts of this evaluation: what is judged on them must not have seen them.
        raise ConfigError(
            f"smooth:ALPHA needs a calibration, and model {settings.model!r} has no default prompts for one: make it "
            "with ecad calibrate, and give --calibration FILE"
        )
    texts = load_prompts(prompts, CALIBRATION_PROMPTS)
    for each in (prompts_of_rows, texts):
        subject.sampler.encode(each.prompts, settings.batch_size)
    subject.model.free_text_encoders()  # memory for the images
    return calibrate(subject, texts.prompts, settings.batch_size)


def make_metrics(names: Sequence[str], device: str) -> tuple[tuple[Scorer, ...], tuple[SetScorer, ...]]:
    """The scorers of single images and those of a whole set, in the order of the names."""
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise ConfigError(f"metric {twice[0]!r} is given twice")
    sets = [name for name in names if name.partition(":")[0] in metric_names("set")]
    singles = [name for name in names if name not in sets]
    return (
        tuple(make_scorer(name, device) for name in singles),
        tuple(make_set_scorer(name, device) for name in sets),
    )


def prompts_cut(pipe: Any, prompts: Sequence[str], max_tokens: int) -> int | None:
    """How many prompts have more tokens than the model reads, so that their ends have no effect.

    None if the pipeline has no tokenizer at hand. Where there are two, the second reads the whole prompt (FLUX).
    """
    tokenizer = getattr(pipe, "tokenizer_2", None) or getattr(pipe, "tokenizer", None)
    if tokenizer is None:
        return None
    lengths = [len(tokens) for tokens in tokenizer(list(prompts), truncation=False, verbose=False).input_ids]
    return sum(length > max_tokens for length in lengths)


def _reference_hash(settings: ResolvedEvaluateSettings, set_scorers: Sequence[SetScorer]) -> str | None:
    """Of the reference set; ConfigError if a metric needs one and there is none, or if none needs it."""
    if set_scorers and settings.reference is None:
        raise ConfigError(
            f"metric {set_scorers[0].name!r} compares with a reference set: give --reference, a folder of images or "
            "an .npz file"
        )
    if settings.reference is None:
        return None
    if not set_scorers:
        raise ConfigError(
            f"--reference is for metrics of a whole set ({', '.join(metric_names('set'))}), and --metrics has none"
        )
    return reference_hash(Path(settings.reference).expanduser())


def reference_hash(path: Path) -> str:
    """What a reference is made of, as a hash: names and sizes of a folder's pictures, or a file's bytes."""
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for picture in list_pictures(path):
                digest.update(f"{picture.relative_to(path).as_posix()} {picture.stat().st_size}\n".encode())
        elif path.is_file():
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        else:
            raise ConfigError(
                f"no reference {path}: give a folder of images, or an .npz file of mu and sigma"
            )
    except OSError as error:
        raise ConfigError(f"cannot read the reference {path}: {error.strerror}") from None
    return digest.hexdigest()


def _identity(
    settings: ResolvedEvaluateSettings,
    subject: Subject,
    prompts: PromptSet,
    contenders: Sequence[Contender],
    specs: Sequence[BaselineSpec],
    reference: str | None,
    surroundings: dict[str, Any],
) -> dict[str, Any]:
    """Plain data of all that decides the numbers: a folder is only continued with equal ones."""
    return {
        "model": {
            "name": subject.source.name,
            **_generation_identity(subject.settings),
        },
        "prompts": {"name": prompts.name, "count": len(prompts), "sha256": prompts.sha256},
        "seeds": {"per_prompt": settings.seeds, "first": settings.first_seed},
        "metrics": list(settings.metrics),
        "reference": reference,
        "batch_size": settings.batch_size,
        "samples": settings.samples,
        "rows": [
            {
                "name": contender.name,
                "kind": contender.kind.value,
                "steps": contender.steps,
                "digest": None if contender.schedule is None else contender.schedule.digest(),
            }
            for contender in contenders
        ],
        "baselines": [
            {
                "location": spec.location if not Path(spec.location).is_dir() else Path(spec.location).name,
                "timesteps": None if spec.timesteps is None else list(spec.timesteps),
                "guidance_scale": spec.guidance_scale,
                "height": spec.height,
                "width": spec.width,
                "dtype": spec.dtype,
                **spec.made_of(),
            }
            for spec in specs
        ],
        # Latencies of two machines do not belong into one table.
        "machine": {
            name: surroundings[name] for name in ("device", "dtype", "hardware", "torch", "diffusers")
        },
    }


def _generation_identity(generation: GenerationSettings) -> dict[str, Any]:
    """One that was added after the first release is left out at its default: older folders do not name it."""
    values = asdict(generation)
    if values["true_cfg_scale"] == 1.0:
        del values["true_cfg_scale"]
    if values["guidance_scale_2"] is None:
        del values["guidance_scale_2"]
    if values["num_frames"] == 1:
        del values["num_frames"]
    del values["levels"]  # all of them; rows have their own
    return values
