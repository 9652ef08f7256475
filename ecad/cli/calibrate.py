"""`ecad calibrate`: how much a model's outputs change from step to step, into a file."""

from __future__ import annotations

from pathlib import Path

import typer

from ecad.cli import family_file
from ecad.cli import prompts_format as format_option
from ecad.errors import ConfigError


def calibrate(
    model: str = typer.Option(..., help="Preset name, local pipeline folder, or hub id."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    out: Path = typer.Option(..., "--out", "-o", help="JSON file to write."),
    prompts: str | None = typer.Option(
        None, help="Prompts: a text file or a bundled set. [default: the model's]"
    ),
    prompts_format: str | None = typer.Option(None, help=format_option.HELP),
    prompts_limit: int = typer.Option(8, min=1, help="Use only the first so many prompts."),
    batch_size: int = typer.Option(8, min=1, help="Images per batch."),
    steps: int | None = typer.Option(None, min=1, help="Denoising steps. [default: the model's]"),
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
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    dtype: str = typer.Option("auto", help="auto, float32, float16 or bfloat16."),
    device_map: str | None = typer.Option(None, help="balanced: spread the components over all GPUs."),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Record how far each output is from itself at every other step, in uncached passes over a few prompts.

    For `ecad search --calibration`, and for the heuristic smooth:ALPHA wherever one is taken.

    \b
    Examples:
      ecad calibrate --model pixart-mini -o calibration.json
    """
    family_file.use_family(family)
    from ecad.families import find_model
    from ecad.prompts import load_prompts
    from ecad.sampling.generation import ModelChoice, Overrides
    from ecad.sampling.recording import calibrate as record
    from ecad.sampling.subject import prepare_subject
    from ecad.schedule import best_masks

    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")
    source = find_model(model)
    recommended = None if source.template is None else source.template.search.get("prompts")
    chosen = prompts or recommended
    if chosen is None:
        raise ConfigError(f"model {model!r} has no default for prompts: give --prompts")
    texts = load_prompts(chosen, prompts_limit, format_name=prompts_format)
    subject = prepare_subject(
        ModelChoice(model, device, dtype, device_map),
        Overrides(steps, guidance_scale, true_cfg_scale, height, width, num_frames, guidance_scale_2),
    )
    subject.sampler.encode(texts.prompts, batch_size)
    subject.model.free_text_encoders()  # memory for the images
    calibration = record(subject, texts.prompts, batch_size)
    calibration.save(out)
    print(f"{out}: {calibration.shape.describe()}, {len(texts)} prompts of {texts.name}")
    masks = best_masks(calibration.output)
    for count in sorted({max(2, calibration.shape.steps // share) for share in (2, 3, 4, 5)}, reverse=True):
        if count in masks:
            print(f"  {count} steps: {calibration.shape.holds}:{','.join(map(str, masks[count]))}")
