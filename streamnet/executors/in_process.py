"""InProcessExecutor: each call runs at once, in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

from streamnet.errors import ConfigurationError
from streamnet.executors.base import Executor

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

    def close(self) -> None:
        """Nothing is left to end."""
