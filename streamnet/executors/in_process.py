"""InProcessExecutor: each call runs at once, in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

from streamnet.errors import ConfigurationError
from streamnet.executors.base import Actor, Executor

T = TypeVar("T")


@final
class InProcessExecutor(Executor):
    """Calls functions in this process.

    >>> with InProcessExecutor() as executor:
    ...     executor.submit(max, 3, 5).result()
    5
    """

    def __init__(self, workers: int = 1) -> None:
        if workers != 1:
            raise ConfigurationError(
                f"workers is {workers}, but must be 1 with executor 'in_process'"
            )
        super().__init__(workers)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function; the future is done."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - raised by the future's result
            future.set_exception(error)
        return future

    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        """Make an object here, as many as are wanted."""
        return _Local(self, make(*arguments))

    def close(self) -> None:
        """Nothing is left to end."""


@final
class _Local(Actor):
    """An object of this process."""

    def __init__(self, executor: InProcessExecutor, hosted: object) -> None:
        self._executor, self._hosted = executor, hosted

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        return self._executor.submit(getattr(self._hosted, method), *arguments)

    def close(self) -> None:
        pass
