"""The run folder: settings, the evaluation log that is also the checkpoint, the front, the report."""

from ecad.storage.log import EvaluationLog
from ecad.storage.run_folder import RunFolder
from ecad.storage.status import StatusFile

__all__ = ["EvaluationLog", "RunFolder", "StatusFile"]
