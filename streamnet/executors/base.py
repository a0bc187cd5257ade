"""Executor: calls functions and hosts objects, and gives a future for each call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from streamnet.errors import StreamnetError

T = TypeVar("T")


class WorkerDiedError(StreamnetError):
    """Raised by the future of a call whose process died."""


class Actor(ABC):
    """An object that an executor hosts, whose methods are called one after the other.

    Its futures raise `WorkerDiedError` once its process has died: what it held is gone.
    """

    @abstractmethod
    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the object, after all earlier calls."""

    @abstractmethod
    def close(self) -> None:
        """End the object with its process, if it has one. Closing twice is allowed."""


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
    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        """Make an object in a worker of its own, which does nothing else until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once. Closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
