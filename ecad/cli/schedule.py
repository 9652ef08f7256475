"""`ecad schedule new|show|check|import|export`: schedule files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecad.cli import family_file
from ecad.cli.completion import completed, heuristics
from ecad.errors import ConfigError, EcadError

if TYPE_CHECKING:
    from ecad.families import ModelSource
    from ecad.schedule import Calibration

app = typer.Typer(no_args_is_help=True)

_CALIBRATION = "File of ecad calibrate, for smooth:ALPHA."


@app.command("new")
def new(
    name: str = typer.Argument(metavar="HEURISTIC", help="For example fora:3."),
    model: str = typer.Option(..., help="Preset name or local pipeline folder."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    out: Path = typer.Option(..., "--out", "-o", help="File to write."),
    steps: int | None = typer.Option(None, help="Denoising steps. [default: the model's]"),
    calibration: Path | None = typer.Option(None, help=_CALIBRATION),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write a heuristic schedule to a file: all, fora:N, attn:N, tgate:GATE, random:P[:SEED], mask:0,6,8,...,
    output:0,6,8,..., denoised:0,6,8,..., smooth:ALPHA.

    \b
    Examples:
      ecad schedule new fora:3 --model pixart-alpha -o every-third.yaml
    """
    family_file.use_family(family)
    import ecad
    from ecad.families import find_model
    from ecad.measuring.schedule_costs import shape_of, signature_of
    from ecad.schedule import heuristic, save_schedule
    from ecad.schedule.heuristics import needs_calibration

    _refuse_existing(out, force)
    source = find_model(model)
    measured = _read_calibration(calibration, model)
    if measured is None and needs_calibration(name):
        measured = _calibrated(model, source, steps)
    shape = shape_of(source, measured.shape.steps if measured is not None and steps is None else steps)
    schedule = heuristic(name, shape, measured)
    provenance = {"heuristic": name, "versions": {"ecad": ecad.__version__}}
    save_schedule(schedule.replace(model=signature_of(source), provenance=provenance), out)
    print(f"{out}: {schedule.shape.describe()}, {schedule.recompute_fraction():.0%} recomputed")


@app.command("show")
def show(
    schedule: str = typer.Argument(
        help="Schedule file, bundled name, or heuristic (then --model is needed)."
    ),
    model: str | None = typer.Option(None, help="Preset name or local pipeline folder."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    steps: int | None = typer.Option(None, help="Denoising steps, for a heuristic."),
    calibration: Path | None = typer.Option(None, help=_CALIBRATION),
) -> None:
    """Draw a schedule in the terminal: a heatmap of steps and blocks for each component.

    \b
    Examples:
      ecad schedule show pixart-mini/fast
      ecad schedule show fora:3 --model pixart-mini
    """
    family_file.use_family(family)
    from rich.console import Console

    from ecad.measuring.schedule_costs import brief, costs_of, load_or_make
    from ecad.report.heatmap import Legend, schedule_panels, schedule_summary

    loaded = load_or_make(schedule, model, steps, _read_calibration(calibration, model))
    costs, notes = costs_of(loaded, model)
    console = Console()
    console.print(schedule_summary(brief(loaded), costs))
    console.print(schedule_panels(loaded))
    console.print(Legend(loaded))
    _print_notes(notes)


@app.command("check")
def check(
    schedule: str = typer.Argument(
        help="Schedule file, bundled name, or heuristic (then --model is needed)."
    ),
    model: str | None = typer.Option(None, help="Check that it fits this preset or local pipeline folder."),
    family: Path | None = typer.Option(None, help=family_file.HELP),
    calibration: Path | None = typer.Option(None, help=_CALIBRATION),
    device: str | None = typer.Option(
        None, help="State also the time on paper on this GPU, which need not be at hand: H100 or A6000."
    ),
    batch: int = typer.Option(1, help="Images in a batch, for the time on paper."),
    compiled: bool = typer.Option(False, "--compiled", help="Time on paper under torch.compile."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Check a schedule file and state its cost.

    \b
    Examples:
      ecad schedule check fast.yaml
      ecad schedule check fast.yaml --model pixart-alpha --device H100 --json
    """
    family_file.use_family(family)
    from ecad.measuring.paper.devices import PaperCost, paper_device
    from ecad.measuring.schedule_costs import COST_KEYS, costs_of, load_or_make

    try:
        loaded = load_or_make(schedule, model, None, _read_calibration(calibration, model))
        if batch < 1:
            raise ConfigError(f"--batch must be at least 1, not {batch}")
        if device is None and (compiled or batch != 1):
            raise ConfigError(
                "--batch and --compiled are for the time on paper: give --device, for example H100"
            )
        paper = None if device is None else PaperCost(paper_device(device), compiled)
        costs, notes = costs_of(loaded, model, paper, batch)
    except EcadError as error:
        if as_json:
            print(json.dumps({"valid": False, "error": str(error)}, indent=1))
        raise
    result: dict[str, Any] = {
        "valid": True,
        "name": loaded.name,
        "family": loaded.family,
        "steps": loaded.steps,
        "blocks": dict(loaded.shape.blocks),
        "model": dict(loaded.model),
        "recompute_fraction": loaded.recompute_fraction(),
        "transformer_runs": loaded.transformer_runs,
        "holds": loaded.holds if loaded.reuses_output else None,
        **(costs or dict.fromkeys((*COST_KEYS, "macs_model"))),
    }
    _print_notes(notes)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    from ecad.report.heatmap import cost_text

    cost = "" if costs is None else f", {cost_text(costs)}"
    holds = f", holds {loaded.holds}" if loaded.reuses_output else ""
    runs = f"the transformer runs in {loaded.transformer_runs} of {loaded.steps} steps"
    share = f"{loaded.recompute_fraction():.0%} recomputed{holds}, {runs}"
    print(f"{schedule}: valid; {loaded.shape.describe()}, {share}{cost}")
    if costs is not None and "paper_s" in costs:
        how = ", compiled" if costs["paper_compiled"] else ""
        print(
            f"on paper ({costs['paper_device']}, batch {costs['paper_batch']}{how}): {1e3 * costs['paper_s']:.2f} ms "
            f"per image, uncached {1e3 * costs['paper_uncached_s']:.2f} ms: {costs['paper_speedup']:.2f}x; the "
            "transformer alone"
        )


@app.command("import")
def import_(
    schedule: str = typer.Argument(
        metavar="FILE", help="JSON of the official ECAD implementation, or of SmoothCache."
    ),
    out: Path = typer.Option(..., "--out", "-o", help="YAML file to write."),
    model: str | None = typer.Option(
        None, help="What it was learnt on (preset name or local pipeline folder), if the file does not say."
    ),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Turn a schedule of the official ECAD implementation, or SmoothCache's masks, into a schedule file of ecad.

    Name, settings and measurements of an official file are kept as provenance; ecad.apply takes it as it is, too. Masks
    of SmoothCache name no model, so they need --model; a component without a mask is computed in every step.

    \b
    Examples:
      ecad schedule import ours_fast.json -o fast.yaml
    """
    from ecad.families import find_model
    from ecad.measuring.schedule_costs import refuse_misfit, shape_of, signature_of
    from ecad.schedule import save_schedule
    from ecad.schedule.files import parse_schedule, read_text
    from ecad.schedule.files.smoothcache import is_smoothcache, parse_smoothcache

    _refuse_existing(out, force)
    text, origin, _ = read_text(schedule)
    if is_smoothcache(text):
        if model is None:
            raise ConfigError(
                f"{origin}: masks of SmoothCache name no model: give --model, whose blocks they are for"
            )
        loaded = parse_smoothcache(text, shape_of(find_model(model), None), origin)
    else:
        loaded = parse_schedule(text, origin)
    if model is not None:
        source = find_model(model)
        refuse_misfit(loaded, source)
        loaded = loaded.replace(model=signature_of(source))
    save_schedule(loaded, out)
    print(f"{out}: {loaded.shape.describe()}, {loaded.recompute_fraction():.0%} recomputed")


@app.command("export")
def export(
    schedule: str = typer.Argument(metavar="FILE", help="Schedule file or bundled name."),
    out: Path = typer.Option(..., "--out", "-o", help="File to write."),
    format_: str = typer.Option(
        "official",
        "--format",
        help="official (JSON), cache-dit (YAML), sd.cpp, sglang, or smoothcache (JSON).",
    ),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write a schedule for other tools: the official ECAD implementation, cache-dit, SGLang, SmoothCache, ...

    official: an imported schedule gives the file that it was imported from; another one has its MACs in the paper's
    convention as its metrics. cache-dit, sd.cpp and sglang take a steps mask: every step recomputes all or nothing.
    smoothcache has one mask per component. docs/schedules-elsewhere.md says what each can express.

    \b
    Examples:
      ecad schedule export fast.yaml -o fast.json
      ecad schedule export fast.yaml --format cache-dit -o steps.yaml
    """
    from ecad.measuring.schedule_costs import costs_of
    from ecad.schedule import load_schedule
    from ecad.schedule.files.formats import OFFICIAL, check_format, export_schedule

    chosen = check_format(format_)
    _refuse_existing(out, force)
    loaded = load_schedule(schedule)
    metrics: dict[str, Any] = {}
    if format_ == OFFICIAL:
        costs, _ = costs_of(loaded, None)
        macs = None if costs is None else costs["macs_paper"]
        metrics = {} if macs is None else {"total_macs": macs, "total_macs_T": macs / 1e12}
    export_schedule(loaded, out, format_, metrics)
    _print_notes([chosen.difference] if chosen.difference else [])
    print(f"{out}: {loaded.shape.describe()}, {loaded.recompute_fraction():.0%} recomputed")


completed(new, name=heuristics)
for _command in (show, check, export):
    completed(_command)
completed(import_, schedule=lambda incomplete: [])  # a file, which the shell completes itself


def _refuse_existing(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")


def _read_calibration(path: Path | None, model: str | None) -> Calibration | None:
    """The file's, if one is given; a note tells that it was made of another model."""
    from ecad.families import find_model
    from ecad.schedule import load_calibration

    if path is None:
        return None
    found = load_calibration(path)
    note = None if model is None else found.origin_note(find_model(model).name)
    _print_notes([] if note is None else [f"{path}: {note}"])
    return found


def _calibrated(model: str, source: ModelSource, steps: int | None) -> Calibration | None:
    """Made now, on the prompts that a search of this model would use; None where it has none."""
    prompts = None if source.template is None else source.template.search.get("prompts")
    if prompts is None:
        return None
    from ecad.prompts import load_prompts
    from ecad.sampling.generation import ModelChoice, Overrides
    from ecad.sampling.recording import CALIBRATION_PROMPTS, calibrate
    from ecad.sampling.subject import prepare_subject

    texts = load_prompts(prompts, CALIBRATION_PROMPTS)
    _print_notes([f"no --calibration is given: one is made, on {len(texts)} prompts of {texts.name}"])
    subject = prepare_subject(ModelChoice(model), Overrides(steps))
    subject.sampler.encode(texts.prompts, CALIBRATION_PROMPTS)
    subject.model.free_text_encoders()  # memory for the images
    return calibrate(subject, texts.prompts, CALIBRATION_PROMPTS)


def _print_notes(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
