"""Where calls run and objects live: in this process, in others, or on many machines."""

from __future__ import annotations

from streamnet.executors.base import Actor, Executor, WorkerDiedError
from streamnet.executors.registry import open_executor

__all__ = ("Actor", "Executor", "WorkerDiedError", "open_executor")
