"""`ecad.search(...)`: a search from Python, the same as `ecad search` makes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Literal

from ecad.errors import StopRun
from ecad.execution import ExecutionSettings
from ecad.functions.display import SearchDisplay
from ecad.functions.given import Path, is_object, model_settings, use_family
from ecad.functions.page import page_at_the_end
from ecad.functions.planning import SETTING_NAMES, SearchPlan, plan_search, with_default_workers, worker_count
from ecad.functions.search_result import SearchResult, search_result
from ecad.progress import Progress

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

OnProgress = Callable[[Progress], None]


def search(
    model: Path | DiffusionPipeline | None = None,
    out: Path | None = None,
    *,
    generations: int | None = None,
    population: int | None = None,
    seed: int | None = None,
    cost: str | None = None,
    latency_table: Path | None = None,
    calibration: Path | None = None,
    quality: str | None = None,
    prompts: Path | None = None,
    prompts_format: str | None = None,
    prompts_limit: int | None = None,
    selection_limit: int | None = None,
    seeds_per_prompt: int | None = None,
    heldout_prompts: Path | None = None,
    heldout_prompts_format: str | None = None,
    heldout_limit: int | None = None,
    heldout_seeds_per_prompt: int | None = None,
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
    device_map: Literal["balanced"] | None = None,
    embedding_cache: bool | None = None,
    crossover_points_fewest: int | None = None,
    crossover_points_most: int | None = None,
    crossover_probability: float | None = None,
    mutation_rate: float | None = None,
    granularity: Literal["steps", "components", "blocks"] | None = None,
    start_from: Path | None = None,
    summed_runs: bool | None = None,
    family: Path | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    workers: int | Literal["auto", "none"] | None = None,
    ray_address: str | None = None,
    gpus_per_worker: float | None = None,
    threads: int | None = None,
    unit_timeout: float = 1800.0,
    together: int | None = None,
    asynchronous: bool = False,
    page: bool = True,
    progress: bool = False,
    on_evaluation: OnProgress | None = None,
    on_generation: OnProgress | None = None,
) -> SearchResult:
    """Learn a Pareto front of cache schedules, as `ecad search` does: the same run folder, bit for bit but for times::

        result = ecad.search("pixart-mini", "runs/mine", generations=10, progress=True)
        ecad.apply(pipe, result.best(speedup=2.0))

    `model` is a preset's name, a local folder, a hub id, or a pipeline of diffusers, which is then searched where it
    lies and as it is (with adapters, for example), in this process: Ray workers could not load it. `out` is the run
    folder, by default runs/<model>. The other arguments are the command's options (`ecad search --help` says what each
    is for); None means the command's default. Run again with the same arguments, or with `resume=FOLDER` alone, a
    search goes on where it was stopped; then `generations` may grow, and a pipeline that was handed over must be so
    again.

    `on_evaluation` is called after every evaluation (after the search also while images of the selection and of the
    report are made), `on_generation` at the end of every generation, both with the `Progress`: its generation,
    evaluations, front so far and hypervolume. Generations that a resumed search finds in its log come at once. A
    callback that raises `ecad.StopRun` stops the search; the result then has `finished` False and the front so far::

        def no_gain_in_ten_generations(progress):
            volumes.append(progress.hypervolume)
            if len(volumes) > 10 and volumes[-1] < 1.001 * volumes[-11]:
                raise ecad.StopRun

    `page` writes report.html into the run folder at the end, a page to look at (`ecad report`). `progress` shows how
    the search stands, in a notebook, too. Errors are `ecad.EcadError`, in one line.
    """
    given = dict(locals())
    settings = {name: given[name] for name in SETTING_NAMES if name != "model"}
    use_family(family)
    execution = ExecutionSettings(
        worker_count(workers, ray_address),
        ray_address,
        gpus_per_worker,
        threads,
        unit_timeout,
        asynchronous,
        together,
    )
    with model_settings(model, settings) as values:
        plan = plan_search(values, execution, out=_path(out), resume=_path(resume), config=_path(config))
        if workers is None and not is_object(model):
            plan = with_default_workers(plan)
        result = run_search(plan, progress=progress, on_evaluation=on_evaluation, on_generation=on_generation)
    if page and result.finished:
        page_at_the_end(result.folder)
    return result


def run_search(
    plan: SearchPlan,
    *,
    progress: bool = False,
    on_evaluation: OnProgress | None = None,
    on_generation: OnProgress | None = None,
) -> SearchResult:
    """Run or continue a planned search; see `search`."""
    from ecad.searching.run import search as run

    with ExitStack() as stack:
        display = stack.enter_context(SearchDisplay(plan.settings.model, plan.folder)) if progress else None

        def observe(now: Progress) -> None:
            if display is not None:
                display.update(now)
            if on_evaluation is not None:
                on_evaluation(now)
            if on_generation is not None and now.ends_generation:
                on_generation(now)

        try:
            run(
                plan.settings,
                plan.folder,
                observe,
                extend=plan.extend,
                execution=plan.execution,
                announce=(lambda line: None) if display is None else display.say,
            )
        except StopRun:
            return search_result(plan.folder, finished=False)
    return search_result(plan.folder, finished=True)


def _path(given: Path | None) -> FilePath | None:
    return None if given is None else FilePath(given)
