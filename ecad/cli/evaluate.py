"""`ecad evaluate`: schedules, fewer steps and other pipelines against the uncached model, as one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from ecad.cli import family_file
from ecad.cli import prompts_format as format_option
from ecad.cli.report import write_report


def evaluate(
    schedules: list[str] | None = typer.Argument(
        None,
        metavar="[SCHEDULES]...",
        help="Schedule files, folders of them, run folders (their fronts), bundled names (pixart-mini/fast), "
        "heuristics (fora:3), steps:N for fewer steps, steps:0,2,6 for some of the noise levels.",
        show_default=False,
    ),
    model: str = typer.Option(..., help="Preset name, local pipeline folder, or hub id."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    out: Path = typer.Option(
        ..., "--out", "-o", help="Folder for the results; the same command continues in it."
    ),
    prompts: str | None = typer.Option(
        None,
        help="Prompt file (text, PartiPrompts, ImageReward, MJHQ-30K, COCO, JSON Lines) or a bundled set. "
        "[default: the model's]",
    ),
    prompts_format: str | None = typer.Option(None, help=format_option.HELP),
    prompts_limit: int | None = typer.Option(None, min=1, help="Use only the first so many prompts."),
    category: str | None = typer.Option(
        None, help="Only prompts of this category, if the file has categories."
    ),
    metrics: str | None = typer.Option(
        None, help="Separated by commas, e.g. alignment,psnr. [default: the model's]"
    ),
    reference: str | None = typer.Option(
        None, help="For fid and kid: folder of images, or .npz or .npy of features or statistics."
    ),
    seeds: int = typer.Option(1, min=1, help="Images per prompt."),
    first_seed: int | None = typer.Option(
        None, min=0, help="Seed of the first image. [default: far from a search's]"
    ),
    baseline: list[str] | None = typer.Option(
        None,
        help="Another text-to-image pipeline, folder, hub id or model name, its settings behind a colon: PATH:steps=1 "
        "(also timesteps=999/499, guidance_scale, scheduler, unet, lora, prior, ..., separated by commas: "
        "docs/published-numbers.md). Can be repeated.",
        show_default=False,
    ),
    calibration: str | None = typer.Option(
        None, help="File of ecad calibrate, for smooth:ALPHA. [default: one is made]"
    ),
    samples: int = typer.Option(6, min=0, help="Prompts in the sample grid."),
    steps: int | None = typer.Option(
        None, min=1, help="Steps of uncached and heuristics. [default: the schedules' or the model's]"
    ),
    guidance_scale: float | None = typer.Option(None, help="Classifier-free guidance scale."),
    guidance_scale_2: float | None = typer.Option(
        None, help="Guidance scale of the second transformer (Wan 2.2)."
    ),
    true_cfg_scale: float | None = typer.Option(
        None, help="FLUX, Qwen-Image: above 1, a second forward a step."
    ),
    height: int | None = typer.Option(None, help="Image height in pixels."),
    width: int | None = typer.Option(None, help="Image width in pixels."),
    num_frames: int | None = typer.Option(None, min=1, help="Frames of a video."),
    batch_size: int | None = typer.Option(None, min=1, help="Images per batch."),
    dtype: str = typer.Option("auto", help="auto, float32, float16 or bfloat16."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    page: bool = typer.Option(
        True, "--page/--no-page", help="Write report.html, a page to look at, at the end."
    ),
) -> None:
    """Compare schedules with the uncached model: quality, latency, MACs. Ctrl-C is safe: run it again to continue.

    \b
    Examples:
      ecad evaluate --model pixart-mini pixart-mini/fast fora:3 steps:10 --out results
      ecad evaluate --model pixart-mini runs/pixart-mini --metrics alignment,psnr --out results
    """
    options: dict[str, Any] = dict(locals())
    options["page"] = False  # below, after the table
    options["schedules"] = schedules or ()
    options["baselines"] = options.pop("baseline") or ()
    from ecad.functions.evaluate import evaluate as run_evaluation

    try:
        results = run_evaluation(**options, progress=True).results
    except KeyboardInterrupt:
        print(f"\n{_stopped(out)}", file=sys.stderr)
        raise typer.Exit(130) from None
    if results is None:
        return  # only a callback stops an evaluation

    from rich.console import Console

    from ecad.report.evaluate_tables import results_table, summary_lines

    # Into a file or a pipe the table keeps its width instead of folding at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print("\n".join(summary_lines(results)), highlight=False, markup=False)
    console.print(results_table(results))
    for note in results.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    grid = ", grid.png" if samples else ""
    print(f"{out}: results.json, results.csv, results.md{grid}")
    if page:
        write_report(out)


def _stopped(out: Path) -> str:
    if not out.is_dir():
        return "stopped before there was anything to save"
    return f"stopped; everything is saved in {out}. Continue with the same command."
