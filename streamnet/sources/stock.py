"""Stock: items that are all there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Generic
from typing import TypeVar
from typing import final

__all__ = ("Stock",)

T = TypeVar("T")


@final
class Stock(Generic[T]):
    """Gives the items of a list like a pump, but needs neither a task nor a thread for it.

    >>> import anyio
    >>> anyio.run(Stock(iter("abc"), 2).take)
    ['a', 'b']
    """

    def __init__(self, iterator: Iterator[T], most: int) -> None:
        self._iterator = iterator
        self._most = most

    def start(self) -> None:
        """Nothing has to begin."""

    async def take(self) -> list[T]:
        """The next items, at most ``most``; none at the end."""
        return list(islice(self._iterator, self._most))

    async def aclose(self) -> None:
        """Nothing has to end."""
