"""`RetryingSource`: reopens a source where it was when reading fails temporarily."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

from anyio import CancelScope, current_time, sleep

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Block, Position, Schema
from streamnet.sources.base import Source

__all__ = (
    "RetryingSource",
    "open_or_close",
)


async def open_or_close(source: Source, after: Position | None = None) -> Schema:
    """Open a source; if that fails or is cancelled, close it, since no source is opened twice."""
    try:
        return await source.open(after)
    except BaseException:
        with CancelScope(shield=True):
            await source.aclose()
        raise


logger = logging.getLogger("streamnet.sources")

FIRST_PAUSE = 0.1  # seconds, four times as long after each further failure
LONGEST_PAUSE = 30.0


@final
class RetryingSource(Source):
    """A source that is made again, and goes on behind its last sample, when reading fails.

    That is for what may pass, such as an I/O error or a network file system that is away. After
    ``tries`` failures within ``seconds`` it gives up.

    Args:
        make_source: Makes a source over the same data each time.
        tries: Most failures that are borne.
        seconds: In how long.

    >>> import anyio
    >>> from streamnet.sources.iterable import IterableSource
    >>> async def main():
    ...     source = RetryingSource(lambda: IterableSource([{"x": 1.0}]))
    ...     await source.open()
    ...     return (await source.receive()).numbers
    >>> anyio.run(main)
    array([[1.]])
    """

    def __init__(
        self, make_source: Callable[[], Source], *, tries: int = 5, seconds: float = 600.0
    ) -> None:
        if tries < 0:
            raise ConfigurationError(f"tries is {tries}, but must be >= 0")
        self._make_source = make_source
        self._tries = tries
        self._seconds = seconds
        self._source: Source | None = make_source()
        self._open = False
        self._after: Position | None = None  # end of the last block
        self._state: Mapping[str, Any] | None = None  # to go on there
        self._failures: deque[float] = deque()  # times of the last ones

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source, again if that fails."""
        self._after = after
        while True:
            try:
                return await self._opened()
            except ReadError as error:
                await self._recover(error)

    async def receive(self) -> Block | None:
        """The next samples; None at the end."""
        while True:
            try:
                if not self._open:
                    await self._opened()
                assert self._source is not None
                block = await self._source.receive()
            except ReadError as error:
                await self._recover(error)
                continue
            if block is not None:
                self._after = block.end
            return block

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The state of the source."""
        if self._source is None or not self._open:
            return dict(self._state or {})
        return self._source.export_state(after)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Hand the state to the source, and to those that are made in its place."""
        self._state = state

    async def aclose(self) -> None:
        """Close the source."""
        if self._source is not None:
            await self._source.aclose()

    def progress(self) -> float | None:
        """Share of the source that was given."""
        return None if self._source is None else self._source.progress()

    async def _opened(self) -> Schema:
        source = self._source or self._make_source()
        self._source = None
        if self._state:
            source.restore_state(self._state)
        schema = await open_or_close(source, self._after)
        self._source, self._open = source, True
        return schema

    async def _recover(self, error: ReadError) -> None:
        """Let go of the source and wait, or give up."""
        source, self._source = self._source, None
        if source is not None:
            if self._open:
                self._state = source.export_state(self._after)
            await source.aclose()
        self._open = False
        now = current_time()
        self._failures.append(now)
        while self._failures[0] < now - self._seconds:
            self._failures.popleft()
        if len(self._failures) > self._tries:
            times = f"{len(self._failures)} failures in {self._seconds:g} seconds"
            raise DataError(f"{error}: given up after {times}") from error
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 4 ** (len(self._failures) - 1))
        logger.warning("%s: trying again in %g seconds", error, pause)
        await sleep(pause)
