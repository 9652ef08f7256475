"""`ecad.evaluate(...)`: an evaluation from Python, the same as `ecad evaluate` makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Literal

from ecad.errors import ConfigError, StopRun
from ecad.evaluating.run import evaluate as run
from ecad.evaluating.settings import EvaluateSettings
from ecad.functions.display import EvaluateDisplay
from ecad.functions.given import Path, model_settings, plain, use_family
from ecad.functions.page import page_at_the_end
from ecad.measuring.rows import Row
from ecad.report.results import Results
from ecad.schedule import Schedule

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True)
class EvaluationProgress:
    """How far an evaluation is: `phase` is "images", or "reference" while pictures to compare with are read."""

    phase: str
    done: int  # images
    total: int


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation that is finished, or was stopped by a callback: then `results` is None."""

    folder: FilePath
    results: Results | None

    @property
    def finished(self) -> bool:
        return self.results is not None

    @property
    def rows(self) -> Sequence[Row]:
        """A row for the uncached model and each of its rivals; none where not `finished`."""
        return () if self.results is None else self.results.rows

    def _repr_markdown_(self) -> str:
        """The table, for notebooks."""
        from ecad.report.evaluate_tables import results_markdown

        return f"{self.folder}: not finished" if self.results is None else results_markdown(self.results)


def evaluate(
    model: Path | DiffusionPipeline,
    schedules: str | Schedule | Sequence[Path | Schedule] = (),
    out: Path | None = None,
    *,
    baselines: Sequence[str] = (),
    prompts: Path | None = None,
    prompts_format: str | None = None,
    prompts_limit: int | None = None,
    category: str | None = None,
    metrics: str | Sequence[str] | None = None,
    reference: Path | None = None,
    seeds: int | None = None,
    first_seed: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_scale_2: float | None = None,
    true_cfg_scale: float | None = None,
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    batch_size: int | None = None,
    dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = None,
    device: str | None = None,
    samples: int | None = None,
    calibration: Path | None = None,
    family: Path | None = None,
    page: bool = True,
    progress: bool = False,
    on_batch: Callable[[EvaluationProgress], None] | None = None,
) -> EvaluationResult:
    """Compare schedules with the uncached model, as `ecad evaluate` does: quality, latency, MACs, into a folder::

        result = ecad.evaluate("pixart-mini", ["pixart-mini/fast", "fora:3", "steps:10"], "results")
        for row in result.rows:
            print(row.name, row.speedup_latency, row.metrics["alignment"].mean)

    `model` is a preset's name, a local folder, a hub id, or a pipeline of diffusers, which is then used where it lies
    and as it is. `schedules` are files, folders, run folders (their fronts), bundled names, heuristics, `steps:N`, or
    schedules themselves. The other arguments are the command's options (`ecad evaluate --help`); None means the
    command's default. The same call goes on in the folder where it was stopped.

    `on_batch` is called after each batch of images; one that raises `ecad.StopRun` stops the evaluation. `page`
    writes report.html into the folder at the end, a page to look at. `progress` shows how far it is, in a notebook,
    too. Errors are `ecad.EcadError`, in one line.
    """
    given = dict(locals())
    if out is None:
        raise ConfigError("no folder for the results: give out, for example out='results'")
    others = ("model", "schedules", "out", "baselines", "metrics", "family", "page", "progress", "on_batch")
    settings = {name: value for name, value in given.items() if name not in others}
    use_family(family)
    folder = FilePath(out)
    with model_settings(model, settings) as values, ExitStack() as stack:
        found = EvaluateSettings(
            **values,
            schedules=_schedules(schedules),
            baselines=tuple(baselines),
            metrics=_metrics(metrics),
        )
        display = None
        if progress:
            display = stack.enter_context(EvaluateDisplay(f"ecad evaluate: {found.model} -> {folder}"))

        def observe(phase: str, done: int, total: int) -> None:
            if display is not None:
                display.update(phase, done, total)
            if on_batch is not None:
                on_batch(EvaluationProgress(phase, done, total))

        try:
            results = run(found, folder, observe)
        except StopRun:
            return EvaluationResult(folder, None)
    if page:
        page_at_the_end(folder)
    return EvaluationResult(folder, results)


def _schedules(given: str | Schedule | Sequence[Path | Schedule]) -> tuple[str | Schedule, ...]:
    several = [given] if isinstance(given, (str, Schedule)) else list(given)
    return tuple(plain(dict(enumerate(several))).values())


def _metrics(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names, or one text with commas between them."""
    if given is None:
        return None
    names = tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))
    if not all(names):
        raise ConfigError(f"--metrics {given!r} has an empty name: separate names by single commas")
    return names
