"""The errors that ecad raises on purpose. The class says what the caller should do."""


class EcadError(Exception):
    """Base of all errors that ecad raises on purpose: one line, naming the value and the remedy."""


class ScheduleError(EcadError):
    """A schedule, or its use on this model, is wrong: fix the schedule or pick another one."""


class ConfigError(EcadError):
    """Settings, prompts or file names are wrong: fix the input."""


class ModelError(EcadError):
    """A model cannot be loaded or is not one that ecad knows: fix the model name or its files."""


class RunError(EcadError):
    """A run folder cannot be used as asked: another version, other settings, in use, or damaged."""


class ScoreError(EcadError):
    """A scorer gave no usable number: look at the image it names, or choose another metric."""


class TransientEvaluationError(EcadError):
    """An evaluation failed for a reason that may pass (out of memory, lost worker): retry it."""


class BrokenWorkerError(EcadError):
    """The process that evaluates cannot go on (its GPU reported an error): continue in a new process."""
