"""What the `ecad schedule` commands share: which model a schedule is for, and what it costs there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecad.errors import ConfigError, EcadError, ScheduleError
from ecad.families import ModelSource, find_model
from ecad.families.family import Workload
from ecad.families.recognition import Evidence, fitting_presets
from ecad.families.workload import workload_for
from ecad.measuring.macs import executed, schedule_macs, speedup_macs, stored_bytes
from ecad.measuring.paper.devices import PaperCost
from ecad.sampling.generation import DEFAULT_STEPS
from ecad.schedule import Calibration, Schedule, ScheduleShape, heuristic, is_heuristic, load_schedule
from ecad.schedule.files.official_layout import PROVENANCE_KEY
from ecad.schedule.transfer import transfer_note

COST_KEYS = (
    "macs",
    "macs_paper",
    "speedup_macs",
    "speedup_macs_paper",
    "stored_bytes_16bit",
    "stored_bytes_16bit_summed",
)

PAPER_KEYS = (
    "paper_device",
    "paper_compiled",
    "paper_batch",
    "paper_s",
    "paper_uncached_s",
    "paper_speedup",
)


def load_or_make(
    text: str, model: str | None, steps: int | None, calibration: Calibration | None = None
) -> Schedule:
    """The schedule of a file, of a bundled name, or of a heuristic on this model.

    A heuristic has the steps that are given, else the calibration's, else the model's.
    """
    if _exists(text) or not is_heuristic(text):
        return load_schedule(text)
    if model is None:
        raise ConfigError(f"{text!r} is a heuristic: give --model, whose blocks and steps it is to cover")
    if steps is None and calibration is not None:
        steps = calibration.shape.steps
    return heuristic(text, shape_of(find_model(model), steps), calibration)


def shape_of(source: ModelSource, steps: int | None) -> ScheduleShape:
    """What a schedule must cover on this model; its own number of steps where none is given."""
    family, _ = source.architecture()
    if steps is None:
        steps = source.preset.steps if source.preset else DEFAULT_STEPS
    return ScheduleShape(family.name, steps, source.block_counts())


def signature_of(source: ModelSource) -> dict[str, Any]:
    """`Schedule.model` of a schedule for this model."""
    signature: dict[str, Any] = {"name": source.name}
    if source.preset is not None:
        signature.update(height=source.preset.height, width=source.preset.width)
        if source.preset.num_frames > 1:
            signature.update(num_frames=source.preset.num_frames)
    return signature


def refuse_misfit(schedule: Schedule, source: ModelSource) -> None:
    expected = shape_of(source, schedule.steps)
    if expected != schedule.shape:
        raise ScheduleError(
            f"the schedule does not fit {source.name}: it is for {schedule.shape.describe()}, "
            f"the model has {expected.describe()}"
        )


def brief(schedule: Schedule) -> Schedule:
    """The schedule to show: of an official file's settings and measurements those that say something at a glance."""
    official = schedule.provenance.get(PROVENANCE_KEY)
    rest = official.get("rest") if isinstance(official, dict) else None
    if not isinstance(rest, dict):
        return schedule
    config, metrics = (rest[key] if isinstance(rest.get(key), dict) else {} for key in ("config", "metrics"))
    latency = metrics.get("latency") if isinstance(metrics.get("latency"), dict) else {}
    shown = {
        **config,
        **{key: metrics[key] for key in ("total_macs",) if key in metrics},
        **{f"latency_{key}": latency[key] for key in ("avg", "gpu", "batch_size") if key in latency},
    }
    return schedule.replace(provenance={**schedule.provenance, PROVENANCE_KEY: shown})


def costs_of(
    schedule: Schedule, model: str | None, paper: PaperCost | None = None, images: int = 1
) -> tuple[dict[str, Any] | None, list[str]]:
    """MACs in both conventions and the most memory that stored outputs take (`COST_KEYS`, of one image), the model they
    are of ("macs_model"), and notes for the user.

    The model is the one that the user names, else the one that the schedule was made for. A schedule that does
    not fit it is an error. Where neither is known, there are no MACs, and the note says why. With `paper` also what a
    batch of `images` takes on that device (`PAPER_KEYS`, seconds per image, of the transformer alone).
    """
    notes = []
    made_for = schedule.model.get("name")
    name = model or made_for
    if name is None:
        name = _preset_of_official(schedule)
        if name is not None:
            notes.append(f"the file names no model, the MACs are those of {name}; --model names another")
    if not isinstance(name, str) or not name:
        return None, ["no MACs, the file names no model: give --model"]
    try:
        source = find_model(name)
        shape_of(source, schedule.steps)
    except EcadError as error:
        if model is not None:
            raise
        return None, [f"no MACs, the file's model {name!r} is not known here: give --model ({error})"]
    refuse_misfit(schedule, source)
    note = transfer_note(schedule, source.name)
    if note is not None:
        notes.append(note)
    if source.family is not None and source.family.formulas is None:
        notes.append(f"no MACs, family {source.family.name!r} has no formulas: ecad evaluate counts them")
        return None, notes
    # The sizes are those of the model that the schedule was made for: another model keeps its own.
    is_same = made_for in (None, source.name)
    height, width, num_frames = (
        _whole_number(schedule, key) if is_same else None for key in ("height", "width", "num_frames")
    )
    workload = workload_for(source, height=height, width=width, num_frames=num_frames)
    costs = (
        schedule_macs(schedule, workload),
        schedule_macs(schedule, workload, "paper"),
        speedup_macs(schedule, workload),
        speedup_macs(schedule, workload, "paper"),
        int(stored_bytes(schedule, workload, 2).max()),
        int(stored_bytes(schedule, workload, 2, summed_runs=True).max()),
    )
    found = {**dict(zip(COST_KEYS, costs, strict=True)), "macs_model": source.name}
    return {**found, **({} if paper is None else _on_paper(schedule, workload, paper, images))}, notes


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # a mask of many steps is too long for a file's name
        return False


def _on_paper(schedule: Schedule, workload: Workload, paper: PaperCost, images: int) -> dict[str, Any]:
    from ecad.measuring.paper.table import paper_table  # torch, which the rest does without

    table = paper_table(workload, paper.device, images=images, is_compiled=paper.is_compiled)
    ran = executed(schedule, workload)
    values = (
        paper.device.name,
        paper.is_compiled,
        images,
        table.predict(ran),
        table.uncached_s(schedule.steps),
        table.speedup(ran),
    )
    return dict(zip(PAPER_KEYS, values, strict=True))


def _preset_of_official(schedule: Schedule) -> str | None:
    """The first preset of this shape and size, for a file of the official implementation, which may name none."""
    if PROVENANCE_KEY not in schedule.provenance:
        return None
    height, width = schedule.model.get("height"), schedule.model.get("width")
    size = (height, width) if type(height) is int and type(width) is int else None
    evidence = Evidence(schedule.family, blocks=schedule.shape.blocks, size=size)
    return next((preset.name for preset in fitting_presets(evidence)), None)


def _whole_number(schedule: Schedule, key: str) -> int | None:
    value = schedule.model.get(key)
    if value is not None and type(value) is not int:
        what = "frames" if key == "num_frames" else "pixels"
        raise ScheduleError(f"the schedule's model.{key} must be a whole number of {what}, not {value!r}")
    return value
