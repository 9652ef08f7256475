"""Where evaluations run: in this process, or spread over workers."""

from ecad.execution.base import ExecutionSettings, Executor, Outcome
from ecad.execution.local import LocalExecutor

__all__ = ["ExecutionSettings", "Executor", "LocalExecutor", "Outcome"]
