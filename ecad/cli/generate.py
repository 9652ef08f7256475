"""`ecad generate`: the same image or video with and without a schedule, side by side, with both times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ecad.cli import family_file
from ecad.errors import ConfigError, ScheduleError

if TYPE_CHECKING:
    from ecad.measuring.timing import LatencyMeasurement
    from ecad.schedule import Schedule


def generate(
    model: str = typer.Option(..., help="Preset name, local pipeline folder, or hub id."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    prompt: str = typer.Option(..., help="What to draw."),
    schedule: str = typer.Option(..., help="Schedule file, bundled name, or heuristic such as fora:3."),
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        help="File to write: .png, of a video .gif or .mp4. [default: out.png or out.gif]",
    ),
    calibration: Path | None = typer.Option(None, help="File of ecad calibrate, for smooth:ALPHA."),
    seed: int = typer.Option(0, help="Seed of the initial noise."),
    steps: int | None = typer.Option(None, help="Denoising steps. [default: the schedule's or the model's]"),
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
    fps: int = typer.Option(16, min=1, help="Frames per second in the file of a video."),
    repeats: int = typer.Option(
        3, min=1, help="Timed repeats; the median and the range of those that nothing disturbed are printed."
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:N or mps."),
    dtype: str = typer.Option("auto", help="auto, float32, float16 or bfloat16."),
    device_map: str | None = typer.Option(None, help="balanced: spread the components over all GPUs."),
    embedding_cache: bool = typer.Option(True, help="Keep encoded prompts on disk."),
) -> None:
    """Make one image or video uncached and one with a schedule, side by side, and print both times.

    \b
    Examples:
      ecad generate --model pixart-mini --schedule pixart-mini/fast --prompt "a large red circle on a gray background"
    """
    family_file.use_family(family)
    from ecad.families import find_model
    from ecad.prompts import prompt_set
    from ecad.schedule import heuristic, is_heuristic, load_calibration, load_schedule
    from ecad.schedule.heuristics import refuse_uncalibrated

    if not prompt.strip():
        raise ConfigError("the prompt is empty: say what to draw")
    prompt_set("--prompt", [prompt])  # what no text encoder can be told is said in one line
    source = find_model(model)  # an unknown name shows before a schedule is read
    if source.family is not None and source.family.makes_videos:
        out = _checked_out(out, True)
    elif out is not None and out.suffix.lower() not in (".gif", ".mp4"):
        out = _checked_out(out, False)
    loaded_schedule: Schedule | None = None
    measured = None if calibration is None else load_calibration(calibration)
    if is_heuristic(schedule):
        refuse_uncalibrated(schedule, measured)
        steps = steps or (None if measured is None else measured.shape.steps)
    else:
        loaded_schedule = load_schedule(schedule)
        steps = steps or loaded_schedule.steps
        if true_cfg_scale is None:  # as it was learnt
            true_cfg_scale = _true_cfg_scale_of(loaded_schedule)

    from ecad.arrays import Images
    from ecad.caching import applied
    from ecad.measuring.timing import measure_interleaved
    from ecad.report.images import side_by_side, side_by_side_video
    from ecad.sampling.base import Job
    from ecad.sampling.generation import ModelChoice, Overrides
    from ecad.sampling.subject import prepare_subject
    from ecad.sampling.video_files import write_video

    subject = prepare_subject(
        ModelChoice(model, device, dtype, device_map, embedding_cache),
        Overrides(steps, guidance_scale, true_cfg_scale, height, width, num_frames, guidance_scale_2),
    )
    out = _checked_out(out, subject.makes_videos)
    sampler, pipe = subject.sampler, subject.model.pipe
    chosen = heuristic(schedule, subject.shape, measured) if loaded_schedule is None else loaded_schedule
    if chosen.steps != subject.settings.steps:
        raise ScheduleError(f"the schedule is for {chosen.steps} steps, --steps is {subject.settings.steps}")
    # What does not fit (the family, the blocks) shows here, and not after the uncached image.
    with applied(pipe, chosen):
        pass
    if measured is not None:
        note = subject.origin_note(measured)
        if note is not None:
            print(f"note: {calibration}: {note}", file=sys.stderr)
    conditioning = sampler.encode([prompt], 1)
    subject.model.free_text_encoders()
    images: dict[str, Images] = {}

    def uncached() -> float:
        images["uncached"], seconds = sampler.sample_timed(conditioning, [Job(0, seed)])
        return seconds

    def cached() -> float:
        with applied(pipe, chosen):
            images["cached"], seconds = sampler.sample_timed(conditioning, [Job(0, seed)])
        return seconds

    times = measure_interleaved({"uncached": uncached, "cached": cached}, repeats=repeats, warmup=1, images=1)
    plain_s, cached_s = times["uncached"].median_s, times["cached"].median_s
    title = chosen.name or schedule
    pair = [images["uncached"][0], images["cached"][0]]
    labels = [f"uncached, {plain_s:.3f} s", f"{title}, {cached_s:.3f} s"]
    out.parent.mkdir(parents=True, exist_ok=True)
    if subject.makes_videos:
        write_video(out, side_by_side_video(pair, labels), fps)
    else:
        side_by_side(pair, labels).save(out)
    print(f"uncached  {_stated(times['uncached'])}")
    print(f"schedule  {_stated(times['cached'])}   {plain_s / cached_s:.2f}x faster   ({title})")
    print(out)


def _stated(measured: LatencyMeasurement) -> str:
    """The median, and how far the timings that count are from each other."""
    seconds = measured.undisturbed_s
    spread = f"{min(seconds):.3f} to {max(seconds):.3f}, " if len(seconds) > 1 else ""
    return f"{measured.median_s:.3f} s ({spread}{len(seconds)} of {len(measured.samples_s)} timings)"


def _true_cfg_scale_of(schedule: Schedule) -> float | None:
    """What a search has recorded; None where nothing is."""
    value = schedule.model.get("true_cfg_scale")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1.0 <= value <= 1000.0:
        raise ScheduleError(
            f"the schedule's model.true_cfg_scale must be a number from 1 to 1000, not {value!r}"
        )
    return float(value)


def _checked_out(out: Path | None, is_video: bool) -> Path:
    """The file to write. ConfigError for a name that does not go with what is made."""
    if out is None:
        return Path("out.gif" if is_video else "out.png")
    if is_video:
        from ecad.sampling.video_files import check_video_file

        check_video_file(out)
    elif out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ConfigError(f"cannot write an image to {out}: the name must end in .png, .jpg or .webp")
    return out
