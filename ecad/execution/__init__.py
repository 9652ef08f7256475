"""Where evaluations run: in this process, or spread over workers."""

from ecad.execution.base import Executor
from ecad.execution.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor"]
