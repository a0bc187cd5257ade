"""Executor: calls functions, and gives a future for each call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from streamnet.errors import StreamnetError

T = TypeVar("T")


class WorkerDiedError(StreamnetError):
    """Raised by the future of a call whose process died."""


class Executor(ABC):
    """Calls functions, here or elsewhere, as many at a time as it has workers.

    Functions are importable by name, and arguments and results can be pickled. Leaving its block
    abandons calls that have not ended.

    Args:
        workers: Calls at a time.
    """

    def __init__(self, workers: int) -> None:
        self.workers: int = workers

    @abstractmethod
    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function; there must be a free worker."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once. Closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
