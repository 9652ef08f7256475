"""The errors that ecad raises on purpose, and how an error is told in one line.

The class says what the caller should do.
"""

from __future__ import annotations

_MOST_CHARACTERS = 160  # of a foreign error's text in a line of a log


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


class StopRun(Exception):  # noqa: N818 - no error
    """Raised by a callback of `ecad.search` or `ecad.evaluate`: stop here, and let the run be continued later."""


def one_line(text: object) -> str:
    """A text without line breaks and double blanks: file names and messages of others may hold any character."""
    return " ".join(str(text).split())


def first_line(error: BaseException) -> str:
    """What an error says first; the name of its class if it says nothing."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if isinstance(error, EcadError) else one_line(lines[0])


def describe(error: BaseException) -> str:
    """The error's class and what it says first, shortened unless it is ours: the same text wherever it was raised."""
    said = first_line(error)
    if said == type(error).__name__:
        return said
    return f"{type(error).__name__}: {said if isinstance(error, EcadError) else said[:_MOST_CHARACTERS]}"


def all_lines(error: BaseException) -> str:
    """The error's class and all that it says, in one line: where the first line of the message says too little."""
    said = one_line(error)
    return f"{type(error).__name__}: {said[:_MOST_CHARACTERS]}" if said else type(error).__name__
