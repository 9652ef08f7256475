"""The run folder (settings, the evaluation log that is also the checkpoint, the front, the report), and the folder of
an evaluation."""

from ecad.storage.differences import first_difference
from ecad.storage.evaluation_folder import EvaluationFolder
from ecad.storage.log import EvaluationLog
from ecad.storage.rate import RateWindow
from ecad.storage.run_folder import RunFolder
from ecad.storage.status import StatusFile

__all__ = ["EvaluationFolder", "EvaluationLog", "RateWindow", "RunFolder", "StatusFile", "first_difference"]
