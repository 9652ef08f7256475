"""How the outputs of the model change from step to step: read, or measured at the start of a search."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ecad.errors import RunError
from ecad.prompts import PromptSet
from ecad.sampling.recording import CALIBRATION_PROMPTS, calibrate
from ecad.sampling.subject import Subject
from ecad.schedule import Calibration, load_calibration
from ecad.searching.settings import ResolvedSearchSettings
from ecad.storage import RunFolder

CALIBRATION_FILE = "calibration.json"

_LOGGER = logging.getLogger(__name__)


def known_calibration(
    folder: RunFolder, settings: ResolvedSearchSettings, subject: Subject
) -> Calibration | None:
    """The calibration of this run's earlier start, or the given one; None if there is none yet.

    A given one that was made otherwise than the search makes its images is taken, with a warning in the log.
    """
    path = folder.path / CALIBRATION_FILE
    if not folder.log.is_empty:
        if not path.is_file():
            raise RunError(f"run folder {folder.path} has evaluations but its {CALIBRATION_FILE} is lost")
        found = load_calibration(path)
        if found.shape.holds != subject.shape.holds:
            raise RunError(
                f"the schedules of {folder.path} hold {found.shape.holds!r} where the whole output is reused, and with "
                f"{type(subject.model.pipe.scheduler).__name__} as it is now new ones would hold "
                f"{subject.shape.holds!r}: the model's scheduler has changed; start a new run"
            )
    elif settings.calibration is not None:
        found = load_calibration(Path(settings.calibration).expanduser())
    else:
        return None
    found.check_fits(subject.shape)
    if settings.calibration is not None and folder.log.is_empty:
        note = subject.origin_note(found)
        if note is not None:
            _LOGGER.warning("--calibration %s: %s", settings.calibration, note)
    return replace(found, shape=subject.shape)


def measured_calibration(
    settings: ResolvedSearchSettings, subject: Subject, prompts: PromptSet
) -> Calibration:
    """A new one, on the first prompts of the search."""
    return calibrate(subject, prompts.prompts[:CALIBRATION_PROMPTS], settings.batch_size)
