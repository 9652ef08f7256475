"""Pipelines with two transformers that take turns in one call (Wan 2.2), by their files."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

from ecad.errors import ModelError
from ecad.families.catalog import ModelSource
from ecad.families.family import TakeOver
from ecad.families.pipeline_config import read_model_index

_SECOND = "transformer_2"
_SCHEDULER = "scheduler/scheduler_config.json"


def take_over_of(source: ModelSource) -> TakeOver | None:
    """None where one transformer does all steps, or where nothing is known before the model is loaded."""
    if source.preset is not None:
        return source.preset.take_over
    if not source.is_local:
        return None
    folder = Path(source.location)
    index = read_model_index(folder)
    second, ratio = index.get(_SECOND), index.get("boundary_ratio")
    if not isinstance(second, list) or None in second or ratio is None:
        return None
    try:
        scheduler = json.loads((folder / _SCHEDULER).read_text(encoding="utf-8"))
        return TakeOver(float(ratio), MappingProxyType(dict(scheduler)))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"cannot read from {folder / _SCHEDULER} when the second transformer takes over: {error}"
        ) from None
