"""The run folder (settings, the evaluation log that is also the checkpoint, the front, the report), and the folder of
an evaluation."""

from ecad.storage.differences import first_difference
from ecad.storage.log import EvaluationLog
from ecad.storage.results_folder import ResultsFolder
from ecad.storage.run_folder import RunFolder
from ecad.storage.status import StatusFile

__all__ = ["EvaluationLog", "ResultsFolder", "RunFolder", "StatusFile", "first_difference"]
