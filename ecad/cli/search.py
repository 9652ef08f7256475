"""`ecad search`: learn a front of schedules."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from ecad.cli import family_file
from ecad.cli import prompts_format as format_option
from ecad.cli.extras import need
from ecad.cli.report import write_report


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
        None,
        help="So many more prompts of the same set decide among the best schedules of the search. "
        "[default: the model's, else 0]",
    ),
    seeds_per_prompt: int | None = typer.Option(None, help="Images per prompt. [default: 1]"),
    heldout_prompts: str | None = typer.Option(None, help="Prompts to report on; disjoint from --prompts."),
    heldout_prompts_format: str | None = typer.Option(None, help="The same of --heldout-prompts."),
    heldout_limit: int | None = typer.Option(None, help="Use only the first so many held-out prompts."),
    heldout_seeds_per_prompt: int | None = typer.Option(None, help="Images per held-out prompt."),
    steps: int | None = typer.Option(None, help="Denoising steps."),
    guidance_scale: float | None = typer.Option(None, help="Classifier-free guidance scale."),
    guidance_scale_2: float | None = typer.Option(
        None, help="Guidance scale of the second transformer (Wan 2.2)."
    ),
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
        "fronts), with commas between them; of several fronts the best.",
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
        "core, at most 8, if the search is long enough and --threads is not given; on a GPU none]",
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
    together: int | None = typer.Option(
        None,
        help="At most so many candidates whose common first steps are computed once; less memory with fewer. "
        "[default: 4, or 8 where that is next to nothing]",
    ),
    asynchronous: bool = typer.Option(
        False, "--asynchronous", help="Wait for no generation to end; the result then depends on timing."
    ),
    page: bool = typer.Option(
        True, "--page/--no-page", help="Write report.html, a page to look at, at the end."
    ),
) -> None:
    """Learn a Pareto front of cache schedules. Ctrl-C is safe: continue with --resume.

    \b
    Examples:
      ecad search --model pixart-mini --generations 10
      ecad search --model ./my-pipeline --quality image-reward --prompts mine.txt --heldout-prompts others.txt
      ecad search --resume runs/pixart-mini --generations 20
    """
    given = dict(locals())
    family_file.use_family(family)
    need("pymoo", "threadpoolctl")
    from ecad.execution import ExecutionSettings
    from ecad.functions.planning import SETTING_NAMES, plan_search, with_default_workers, worker_count
    from ecad.functions.search import run_search

    settings = {name: value for name, value in given.items() if name in SETTING_NAMES and value is not None}
    execution = ExecutionSettings(
        worker_count(workers, ray_address),
        ray_address,
        gpus_per_worker,
        threads,
        unit_timeout,
        asynchronous,
        together,
    )
    plan = plan_search(settings, execution, out=out, resume=resume, config=config)
    if workers is None:
        plan = with_default_workers(plan)
    folder = plan.folder
    try:
        run_search(plan, progress=True)
    except KeyboardInterrupt:
        print(f"\n{_stopped(folder)}", file=sys.stderr)
        raise typer.Exit(130) from None

    from ecad.cli.show import show

    show(folder, as_json=False, as_markdown=False)
    _print_failures(folder)
    if page:
        write_report(folder)
    print(f"\nnext: ecad plot {folder}    ecad export {folder} --speedup 2.0 -o fast.yaml")


def _stopped(folder: Path) -> str:
    if not folder.is_dir():
        return "stopped before there was anything to save"
    return f"stopped; everything is saved. Continue with: ecad search --resume {folder}"


def _print_failures(folder: Path) -> None:
    from ecad.storage import RunFolder

    failures = RunFolder.existing(folder).failures()
    if failures:
        print(f"\n{len(failures)} candidates could not be evaluated, for example: {failures[0][1]}")
