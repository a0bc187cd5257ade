"""Requests of a client: one with its answer, or several whose answers are joined."""

from __future__ import annotations

from collections.abc import AsyncIterable
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Generic
from typing import NamedTuple
from typing import TypeVar

from streamnet.errors import RefusedError

__all__ = ("Ask", "Lines", "Parts")

T = TypeVar("T")
Lines = Iterable[bytes] | AsyncIterable[bytes]
_BYTES = 1 << 18  # of a part: daemons take 1 MiB, unless they are told otherwise
_MOST = 1000  # things of a part
_TOO_MUCH = frozenset({413, 422})  # perhaps for one request alone


class Ask(NamedTuple, Generic[T]):
    """A request, and the type of its answer."""

    method: str
    path: str
    shape: type[T]
    content: bytes | Lines | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    params: dict[str, str] = {}  # noqa: RUF012 - likewise
    repeatable: bool = True  # whether it may be sent again if nobody knows what came of it


class Parts(NamedTuple, Generic[T]):
    """A request for many things, any of which may be asked for without the others."""

    thing: str  # what each is called
    sizes: Sequence[int]  # bytes of each
    ask: Callable[[slice], Ask[T]]  # asks for some of them
    joined: Callable[[Sequence[T]], T]  # all answers as one

    def asks(self) -> Generator[Ask[T], T, T]:
        """Requests, one after the other: each is sent its answer, or thrown its RefusedError.

        What is too much for a daemon is asked for in smaller parts, down to a single thing: so the
        one that is wrong is found, too.

        Returns:
            All answers as one.

        Raises:
            RefusedError: If it is thrown, with the number of the thing that is refused.
        """
        answers: list[T] = []
        start, most = 0, _MOST
        while start < len(self.sizes) or not answers:
            stop = self._stop(start, most)
            try:
                answers.append((yield self.ask(slice(start, stop))))
            except RefusedError as error:
                if error.status not in _TOO_MUCH or start == stop:
                    raise
                if stop - start == 1:
                    raise self._numbered(error, start) from error
                most = (stop - start) // 2
            else:
                start = stop
        return self.joined(answers)

    def _stop(self, start: int, most: int) -> int:
        end, size = min(start + most, len(self.sizes)), 0
        for stop in range(start, end):
            size += self.sizes[stop]
            if size > _BYTES and stop > start:
                return stop
        return end

    def _numbered(self, error: RefusedError, number: int) -> RefusedError:
        """What is said of the only thing of a part, by its number among all."""
        detail = str(error) if error.detail is None else error.detail
        told = f"{self.thing} {number}: {detail}"
        return RefusedError(told, error.status, number=number, detail=detail)
