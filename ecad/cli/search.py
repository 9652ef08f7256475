"""`ecad search`: learn a front of schedules."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecad.cli import family_file
from ecad.cli import prompts_format as format_option
from ecad.cli.extras import need
from ecad.errors import ConfigError

if TYPE_CHECKING:
    from ecad.execution import ExecutionSettings


def search(
    model: str | None = typer.Option(None, help="Preset name, local pipeline folder, or hub id."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    generations: int | None = typer.Option(None, help="Generations, the first one included. [default: 50]"),
    population: int | None = typer.Option(None, help="Schedules per generation."),
    seed: int | None = typer.Option(None, help="Seed of the search. [default: 0]"),
    out: Path | None = typer.Option(None, help="Run folder. [default: runs/<model>]"),
    resume: Path | None = typer.Option(None, help="Continue the run in this folder; --generations may grow."),
    config: Path | None = typer.Option(None, help="YAML file with settings; options given here win."),
    cost: str | None = typer.Option(
        None,
        help="What to minimise: macs, latency, or time on paper on a GPU that is not at hand (paper:H100, "
        "paper:H100:compiled). [default: macs]",
    ),
    latency_table: str | None = typer.Option(None, help="JSON latency table of an earlier run."),
    calibration: str | None = typer.Option(None, help="File of ecad calibrate. [default: one is made]"),
    quality: str | None = typer.Option(None, help="What to maximise, e.g. alignment."),
    prompts: str | None = typer.Option(None, help="Prompts to search on: a text file or a bundled set."),
    prompts_format: str | None = typer.Option(None, help=format_option.HELP),
    prompts_limit: int | None = typer.Option(None, help="Use only the first so many prompts."),
    selection_limit: int | None = typer.Option(
        None, help="So many more prompts of the same set decide among the best schedules of the search."
    ),
    seeds_per_prompt: int | None = typer.Option(None, help="Images per prompt. [default: 1]"),
    heldout_prompts: str | None = typer.Option(None, help="Prompts to report on; disjoint from --prompts."),
    heldout_prompts_format: str | None = typer.Option(None, help="The same of --heldout-prompts."),
    heldout_limit: int | None = typer.Option(None, help="Use only the first so many held-out prompts."),
    heldout_seeds_per_prompt: int | None = typer.Option(None, help="Images per held-out prompt."),
    steps: int | None = typer.Option(None, help="Denoising steps."),
    guidance_scale: float | None = typer.Option(None, help="Classifier-free guidance scale."),
    true_cfg_scale: float | None = typer.Option(
        None, help="FLUX, Qwen-Image: above 1, a second forward a step."
    ),
    height: int | None = typer.Option(None, help="Image height in pixels."),
    width: int | None = typer.Option(None, help="Image width in pixels."),
    num_frames: int | None = typer.Option(None, help="Frames of a video."),
    batch_size: int | None = typer.Option(None, help="Images per batch."),
    dtype: str | None = typer.Option(None, help="auto, float32, float16 or bfloat16."),
    device: str | None = typer.Option(None, help="auto, cpu, cuda, cuda:N or mps."),
    device_map: str | None = typer.Option(None, help="balanced: spread the components over all GPUs."),
    embedding_cache: bool | None = typer.Option(
        None, "--embedding-cache/--no-embedding-cache", help="Keep encoded prompts on disk. [default: yes]"
    ),
    mutation_rate: float | None = typer.Option(None, help="Bit-flip probability per gene. [default: 0.02]"),
    granularity: str | None = typer.Option(
        None, help="The finest that schedules differ in: steps, components or blocks. [default: blocks]"
    ),
    start_from: str | None = typer.Option(
        None,
        help="Schedules for the first generation, beside its own: files, bundled names, folders or run folders (their "
        "fronts), with commas between them.",
    ),
    summed_runs: bool | None = typer.Option(
        None,
        "--summed-runs/--no-summed-runs",
        help="Hold what stretches of reused blocks read as three sums: less memory (Wan: a tenth and less). Candidates "
        "then share no first steps, and the last bits differ. [default: no]",
    ),
    workers: str | None = typer.Option(
        None,
        help="Evaluate on so many Ray workers; auto: one per GPU; none: in this process. [default: on a CPU one per "
        "core, if the search is long enough and --threads is not given; on a GPU none]",
    ),
    ray_address: str | None = typer.Option(
        None, help="Ray cluster to use: auto, host:port or ray://host:port. [default: one of our own]"
    ),
    gpus_per_worker: float | None = typer.Option(
        None, help="GPUs of each worker; a fraction shares one. [default: 1]"
    ),
    threads: int | None = typer.Option(
        None, help="CPU threads of each process. [default: cores / workers, or the run's own]"
    ),
    unit_timeout: float = typer.Option(1800.0, help="Seconds after which a worker's batch counts as hung."),
    together: int = typer.Option(
        4,
        help="At most so many candidates whose common first steps are computed once; less memory with fewer.",
    ),
    asynchronous: bool = typer.Option(
        False, "--asynchronous", help="Wait for no generation to end; the result then depends on timing."
    ),
) -> None:
    """Learn a Pareto front of cache schedules. Ctrl-C is safe: continue with --resume."""
    given = dict(locals())
    family_file.use_family(family)
    need("pymoo", "threadpoolctl")
    from ecad.execution import ExecutionSettings

    execution = ExecutionSettings(
        None if workers == "none" else _worker_count(workers, ray_address),
        ray_address,
        gpus_per_worker,
        threads,
        unit_timeout,
        asynchronous,
        together,
    )
    if execution.uses_ray:
        need("ray")
    options = {name: value for name, value in given.items() if value is not None}
    settings = {name: options[name] for name in _setting_names() if name in options}
    if resume is not None:
        folder, values = _resumed(resume, settings, out, config)
        execution = _resumed_execution(folder, execution)
    else:
        folder, values = _new(settings, out, config)

    from ecad.cli.display import SearchDisplay
    from ecad.searching.run import search as run_search
    from ecad.searching.settings import SearchSettings

    search_settings = SearchSettings.from_mapping(values)
    if workers is None and not execution.uses_ray and threads is None:
        from ecad.searching.workers import default_workers

        found = default_workers(
            search_settings.resolved(), _kept_threads(folder) if resume is not None else None
        )
        execution = replace(execution, workers=found)
    try:
        with SearchDisplay(search_settings, folder) as display:
            run_search(
                search_settings,
                folder,
                display.update,
                extend=resume is not None,
                execution=execution,
                announce=display.say,
            )
    except KeyboardInterrupt:
        print(
            f"\nstopped; everything is saved. Continue with: ecad search --resume {folder}", file=sys.stderr
        )
        raise typer.Exit(130) from None

    from ecad.cli.show import show

    show(folder, as_json=False, as_markdown=False)
    _print_failures(folder)
    print(f"\nnext: ecad plot {folder}    ecad export {folder} --speedup 2.0 -o fast.yaml")


def _worker_count(workers: str | None, ray_address: str | None) -> int | None:
    """None: no Ray. 0: as many as fit, which is also the default on a cluster."""
    if workers is None:
        return None if ray_address is None else 0
    if workers == "auto":
        return 0
    if not workers.isdigit() or not 1 <= int(workers) <= 100_000:
        raise ConfigError(f"--workers must be a whole number from 1, auto or none, not {workers!r}")
    return int(workers)


def _resumed_execution(folder: Path, execution: ExecutionSettings) -> ExecutionSettings:
    """Where the evaluations run may change from start to start; whether the search is asynchronous may not."""
    from ecad.storage import RunFolder

    known = RunFolder.existing(folder).read_config()
    return replace(execution, asynchronous=execution.asynchronous or known.get("asynchronous") is True)


def _kept_threads(folder: Path) -> int | None:
    """The number of threads that each process of a run has had so far."""
    from ecad.storage import RunFolder

    threads = (RunFolder.existing(folder).read_config().get("numerics") or {}).get("threads")
    return threads if isinstance(threads, int) else None


def _print_failures(folder: Path) -> None:
    from ecad.storage import RunFolder

    failures = RunFolder.existing(folder).failures()
    if failures:
        print(f"\n{len(failures)} candidates could not be evaluated, for example: {failures[0][1]}")


def _setting_names() -> list[str]:
    from ecad.searching.settings import SearchSettings

    return [field.name for field in fields(SearchSettings)]


def _new(settings: dict[str, Any], out: Path | None, config: Path | None) -> tuple[Path, dict[str, Any]]:
    from ecad.searching.settings import read_settings

    values = {**(read_settings(config) if config is not None else {}), **settings}
    if "model" not in values:
        raise ConfigError(
            "no model: give --model, for example --model pixart-mini (ecad models lists the names)"
        )
    name = Path(str(values["model"])).name
    if out is None and name in ("", ".."):  # would be runs/ itself, or lead out of it
        raise ConfigError(
            f"the model {values['model']!r} gives the run no name: give --out, for example --out runs/mine"
        )
    return out or Path("runs") / name, values


def _resumed(
    folder: Path, settings: dict[str, Any], out: Path | None, config: Path | None
) -> tuple[Path, dict[str, Any]]:
    from ecad.storage import RunFolder

    if out is not None or config is not None:
        raise ConfigError("--resume takes everything from the run folder: leave out --out and --config")
    refused = sorted(set(settings) - {"generations", "device", "device_map", "embedding_cache"})
    if refused:
        names = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise ConfigError(f"--resume continues with the run's own settings: leave out {names}")
    known = RunFolder.existing(folder).read_config().get("settings")
    if not isinstance(known, dict):
        raise ConfigError(f"{folder}/config.yaml has no settings")
    earlier, wanted = known.get("generations"), settings.get("generations")
    if wanted is not None and isinstance(earlier, int) and wanted < earlier:
        raise ConfigError(f"the run in {folder} is for {earlier} generations: --generations may only grow")
    return folder, {**known, **settings}
