"""`ecad schedule new|show|check`: schedule files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ecad.errors import ConfigError, EcadError, ModelError, ScheduleError

if TYPE_CHECKING:
    from ecad.models import ModelSource
    from ecad.schedule import Schedule, ScheduleShape

app = typer.Typer(no_args_is_help=True)

_COST_KEYS = ("macs", "macs_paper", "speedup_macs", "speedup_macs_paper")


@app.command("new")
def new(
    name: str = typer.Argument(metavar="HEURISTIC", help="For example fora:3."),
    model: str = typer.Option(..., help="Preset name or local pipeline folder."),
    out: Path = typer.Option(..., "--out", "-o", help="File to write."),
    steps: int | None = typer.Option(None, help="Denoising steps. [default: the model's]"),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write a heuristic schedule to a file: all, fora:N, attn:N, tgate:GATE, random:P[:SEED], mask:0,6,8,..."""
    import ecad
    from ecad.models import find_model
    from ecad.schedule import heuristic, save_schedule

    if out.exists() and not force:
        raise ConfigError(f"{out} exists already: choose another name or give --force")
    source = find_model(model)
    schedule = heuristic(name, _shape(source, steps))
    signature: dict[str, Any] = {"name": source.name}
    if source.preset is not None:
        signature.update(height=source.preset.height, width=source.preset.width)
    provenance = {"heuristic": name, "versions": {"ecad": ecad.__version__}}
    save_schedule(schedule.replace(model=signature, provenance=provenance), out)
    print(f"{out}: {schedule.shape.describe()}, {schedule.recompute_fraction():.0%} recomputed")


@app.command("show")
def show(
    schedule: str = typer.Argument(
        help="Schedule file, bundled name, or heuristic (then --model is needed)."
    ),
    model: str | None = typer.Option(None, help="Preset name or local pipeline folder."),
    steps: int | None = typer.Option(None, help="Denoising steps, for a heuristic."),
) -> None:
    """Draw a schedule in the terminal: a heatmap of steps and blocks for each component."""
    from rich.console import Console

    from ecad.report.heatmap import Legend, schedule_panels, schedule_summary

    loaded = _load(schedule, model, steps)
    costs, note = _costs(loaded, model)
    console = Console()
    console.print(schedule_summary(loaded, costs))
    console.print(schedule_panels(loaded))
    console.print(Legend())
    if costs is None:
        print(f"note: no MACs, {note}", file=sys.stderr)


@app.command("check")
def check(
    schedule: str = typer.Argument(help="Schedule file or bundled name."),
    model: str | None = typer.Option(None, help="Check that it fits this preset or local pipeline folder."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Check a schedule file and state its cost."""
    try:
        loaded = _load(schedule, model, None)
        costs, note = _costs(loaded, model)
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
        **(costs or dict.fromkeys(_COST_KEYS)),
    }
    if costs is None:
        print(f"note: no MACs, {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    from ecad.report.heatmap import cost_text

    cost = "" if costs is None else f", {cost_text(costs)}"
    print(f"{schedule}: valid; {loaded.shape.describe()}, {loaded.recompute_fraction():.0%} recomputed{cost}")


def _load(text: str, model: str | None, steps: int | None) -> Schedule:
    from ecad.models import find_model
    from ecad.schedule import heuristic, is_heuristic, load_schedule

    if is_heuristic(text) and not Path(text).exists():
        if model is None:
            raise ConfigError(f"{text!r} is a heuristic: give --model, whose blocks and steps it is to cover")
        return heuristic(text, _shape(find_model(model), steps))
    return load_schedule(text)


def _shape(source: ModelSource, steps: int | None) -> ScheduleShape:
    from ecad.schedule import ScheduleShape

    if source.spec is None or source.transformer_config is None:
        raise ModelError(
            f"{source.name!r} is on a hub: its architecture is not known here, use a local folder"
        )
    if steps is None:
        steps = source.preset.steps if source.preset else 20
    return ScheduleShape(source.spec.family, steps, source.spec.block_counts(source.transformer_config))


def _costs(schedule: Schedule, model: str | None) -> tuple[dict[str, Any] | None, str]:
    """MACs in both conventions, or None and the reason why they are not known.

    The model is the one that the user names, else the one that the schedule was made for. A schedule that does
    not fit it is an error.
    """
    from ecad.evaluation.cost import schedule_macs, speedup_macs, workload_for
    from ecad.models import find_model

    made_for = schedule.model.get("name")
    name = model or made_for
    if not isinstance(name, str) or not name:
        return None, "the file names no model: give --model"
    try:
        source = find_model(name)
        expected = _shape(source, schedule.steps)
    except EcadError as error:
        if model is not None:
            raise
        return None, f"the file's model {name!r} is not known here: give --model ({error})"
    if expected != schedule.shape:
        raise ScheduleError(
            f"the schedule does not fit {name}: it is for {schedule.shape.describe()}, "
            f"the model has {expected.describe()}"
        )
    # The sizes are those of the model that the schedule was made for: another model keeps its own.
    is_same = source.name == made_for
    height, width = (_pixels(schedule, key) if is_same else None for key in ("height", "width"))
    workload = workload_for(source, height=height, width=width)
    return dict(
        zip(
            _COST_KEYS,
            (
                schedule_macs(schedule, workload),
                schedule_macs(schedule, workload, "paper"),
                speedup_macs(schedule, workload),
                speedup_macs(schedule, workload, "paper"),
            ),
            strict=True,
        )
    ), ""


def _pixels(schedule: Schedule, key: str) -> int | None:
    value = schedule.model.get(key)
    if value is not None and type(value) is not int:
        raise ScheduleError(f"the schedule's model.{key} must be a whole number of pixels, not {value!r}")
    return value
