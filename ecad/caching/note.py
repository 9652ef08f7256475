"""What a pipeline is, for the note that a schedule was learnt on another model."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from torch import nn

from ecad.families.recognition import Evidence, fitting_presets
from ecad.schedule.schedule import Schedule
from ecad.schedule.transfer import transfer_note


def note_of_transfer(pipeline: Any | None, transformer: nn.Module, schedule: Schedule) -> str | None:
    """The note to log when this schedule is applied here, or None; see `ecad.schedule.transfer`."""
    config = dict(getattr(transformer, "config", None) or {})
    location = getattr(pipeline, "name_or_path", None) or config.get("_name_or_path")
    folder = PurePath(location).name if isinstance(location, str) else ""
    pipeline_class = None if pipeline is None else type(pipeline).__name__
    evidence = Evidence(schedule.family, pipeline_class=pipeline_class, transformer=config)
    presets = [preset.name for preset in fitting_presets(evidence)]
    used_on = " or ".join(presets) or folder
    if not used_on or schedule.model.get("name") == folder:
        return None
    return transfer_note(schedule, used_on, presets)
