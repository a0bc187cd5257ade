"""Where calls are executed: in this process, in several on this machine, or on many machines."""

from __future__ import annotations

from streamnet.executors.base import Executor, WorkerDiedError
from streamnet.executors.registry import open_executor

__all__ = ("Executor", "WorkerDiedError", "open_executor")
