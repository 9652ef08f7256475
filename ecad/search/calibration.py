"""How the outputs of the model change from step to step: read, or measured at the start of a search."""

from __future__ import annotations

from pathlib import Path

from ecad.errors import RunError
from ecad.prompts import PromptSet
from ecad.sampling.recording import CALIBRATION_PROMPTS, calibrate
from ecad.sampling.subject import Subject
from ecad.schedule import Calibration, load_calibration
from ecad.search.settings import ResolvedSearchSettings
from ecad.storage import RunFolder

CALIBRATION_FILE = "calibration.json"


def calibration_for(
    folder: RunFolder, settings: ResolvedSearchSettings, subject: Subject, prompts: PromptSet
) -> Calibration:
    """The calibration that gives this search its seeds: given, from an earlier start, or measured now."""
    path = folder.path / CALIBRATION_FILE
    if not path.is_file():
        if not folder.log.is_empty:
            raise RunError(f"run folder {folder.path} has evaluations but its {CALIBRATION_FILE} is lost")
        if settings.calibration is not None:
            found = load_calibration(Path(settings.calibration).expanduser())
        else:
            found = calibrate(subject, prompts.prompts[:CALIBRATION_PROMPTS], settings.batch_size)
        found.check_fits(subject.shape)
        found.save(path)
    # Always as it is in the file, whose numbers are rounded: a search that is continued has the same seeds.
    calibration = load_calibration(path)
    calibration.check_fits(subject.shape)
    return calibration
